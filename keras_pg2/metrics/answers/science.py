"""ScienceQA: the letter of a choice."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from keras_pg2.checks.texts import short_repr
from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    MeanMetric,
    Statistics,
    Truth,
    mean,
)

_CHOICE = re.compile(r"the answer is ([a-z])\.")


def read_choice(text: str) -> str | None:
    """Return the letter of "The answer is A." in lower case; None if it is not there.

    Blanks before it and text after it are left out.
    """
    found = _CHOICE.match(text.strip().lower())
    return None if found is None else found[1]


def is_right_choice(answer: Answer, truth: Truth) -> float:
    """Return 1.0 if the answer names a right letter.

    Raises:
        ValueError: if the truth has no answer, or one that names no letter.
    """
    right = [read_choice(text) for text in right_answers(truth)]
    if None in right:
        raise ValueError(
            "expected right answers of the form 'The answer is A.', received "
            f"{short_repr(truth.answers)}."
        )
    return float(read_choice(answer.text) in right)


class ScienceQAAccuracy(MeanMetric):
    """Share of right letters, and `unreadable`, the share of answers without one."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return score and kind of an example, and whether it has a letter."""
        is_readable = read_choice(answer.text) is not None
        return {**super().statistics(answer, truth), "is_readable": is_readable}

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to figures."""
        means = super().prepare(rows)
        unreadable = np.array([not row["is_readable"] for row in rows], np.float64)
        return lambda counts=None: (
            means(counts) | {"unreadable": mean(unreadable, counts)}
        )


METRICS = (
    ScienceQAAccuracy(
        name="science_qa_accuracy",
        meaning="share of 'The answer is X.' with the right letter",
        source="big_vision `evaluators/proj/paligemma/transfers/science_qa.py`",
        score=is_right_choice,
    ),
)
