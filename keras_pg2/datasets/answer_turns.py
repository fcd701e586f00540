"""Which of several right answers an epoch trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def answer_of_epoch(answers: Sequence[T], *, seed: int, position: int, epoch: int) -> T:
    """Return one of the answers; over the epochs each has its turn before one returns.

    As big_vision's `choice_no_replacement` (`transfers/vqav2.py`), so that an answer
    that many gave is trained on often.

    Args:
        answers: The answers, at least one.
        seed: Seed of the order.
        position: Place of the example in its data set, which has an order of its own.
        epoch: Number of the epoch, from 0.
    """
    cycle, index = divmod(epoch, len(answers))
    rng = np.random.default_rng([seed, position, cycle])
    return answers[int(rng.permutation(len(answers))[index])]
