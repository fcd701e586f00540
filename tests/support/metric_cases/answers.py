"""Drawn examples of metrics of short answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_pg2.metrics.metric import Answer, Truth
from tests.support.metric_cases import Draw

WORDS = ("cat", "Two dogs", "don't know", "red", "left", "7", "none", "The Bank", "")


def exact_match(random: np.random.Generator) -> tuple[Answer, Truth]:
    """Return an answer in any case, and some right ones."""
    right = tuple(random.choice(WORDS, random.integers(1, 4)).tolist())
    said = str(random.choice(WORDS))
    shown = str(random.choice([said, said.upper(), f" {said}\n"]))
    return Answer(shown), Truth(answers=right, kind=str(random.choice(["", "a", "b"])))


CASES: Mapping[str, Draw] = {"exact_match": exact_match}
