"""TallyQA and CountBenchQA: how many there are."""

from __future__ import annotations

from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.answers.number_words import DIGITS
from keras_pg2.metrics.metric import Answer, MeanMetric, Truth


def is_right_number(answer: Answer, truth: Truth) -> float:
    """Return 1.0 for the right number, in digits or as a word up to twenty.

    Raises:
        ValueError: if the truth has no answer.
    """
    right = [_digits(text) for text in right_answers(truth)]
    return float(_digits(answer.text.strip()) in right)


def _digits(text: str) -> str:
    return DIGITS.get(text.lower(), text)


METRICS = (
    MeanMetric(
        name="tallyqa_accuracy",
        meaning="share of right numbers, number words as digits; simple and complex "
        "questions apart",
        source="big_vision `evaluators/proj/paligemma/transfers/tallyqa.py`",
        score=is_right_number,
    ),
)
