"""Answers that equal the truth letter by letter."""

from __future__ import annotations

from keras_pg2.metrics.metric import Answer, MeanMetric, Truth


def right_answers(truth: Truth) -> list[str]:
    """Return all right answers without blanks around them.

    Raises:
        ValueError: if there is none.
    """
    if not truth.answers:
        raise ValueError("expected a right answer, received none.")
    return [answer.strip() for answer in truth.answers]


def is_exact(answer: Answer, truth: Truth) -> float:
    """Return 1.0 if the answer equals a right one, blanks around them left out.

    Raises:
        ValueError: if the truth has no answer.
    """
    return float(answer.text.strip() in right_answers(truth))


def is_exact_in_lower_case(answer: Answer, truth: Truth) -> float:
    """Return 1.0 if the answer equals a right one, both in lower case.

    Raises:
        ValueError: if the truth has no answer.
    """
    right = [text.lower() for text in right_answers(truth)]
    return float(answer.text.strip().lower() in right)


_SOURCE = "big_vision `evaluators/proj/paligemma/transfers/vqa.py`, acc_any"

METRICS = (
    MeanMetric(
        name="exact_match",
        meaning="share of answers that equal one of the right ones",
        source=_SOURCE,
        score=is_exact,
    ),
    MeanMetric(
        name="exact_match_lower",
        meaning="share of answers that equal one of the right ones in lower case",
        source=f"{_SOURCE} with to_lower, as for OCR-VQA",
        score=is_exact_in_lower_case,
    ),
)
