"""Answers that equal the truth letter by letter."""

from __future__ import annotations

from keras_pg2.metrics.metric import Answer, MeanMetric, Truth


def is_exact(answer: Answer, truth: Truth) -> float:
    """Return 1.0 if the answer equals one of the truth's, blanks around it left out.

    Raises:
        ValueError: if the truth has no answer.
    """
    if not truth.answers:
        raise ValueError("expected a right answer, received none.")
    return float(answer.text.strip() in {right.strip() for right in truth.answers})


EXACT_MATCH = MeanMetric(
    name="exact_match",
    meaning="share of answers that equal one of the right ones",
    source="big_vision `evaluators/proj/paligemma/transfers/vqa.py`, acc_any",
    score=is_exact,
)
METRICS = (EXACT_MATCH,)
