"""Accuracy where several people answered a question: VQAv2's, and the simpler one."""

from __future__ import annotations

from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.answers.vqa_cleaning import clean, without_line_breaks
from keras_pg2.metrics.metric import Answer, MeanMetric, Truth

_ENOUGH = 3
"""People whose answer is right for sure."""


def vqa_accuracy(answer: Answer, truth: Truth) -> float:
    """Return min(1, people who said so / 3), or 1.0 if it is the only right answer.

    Upper and lower case differ, and nothing is cleaned but blanks around answers.

    Raises:
        ValueError: if the truth has no answer, or two, of which none can be right.
    """
    right = right_answers(truth)
    # Of three and more people none may agree, as in some examples of ten; two answers
    # are of no data set with people's answers, but ways of writing one.
    if 1 < len(right) < _ENOUGH:
        raise ValueError(
            f"expected one right answer, or those of at least {_ENOUGH} people (OK-VQA "
            f"has 10), received {len(right)}, with which no answer can score 1. Take "
            "the metric exact_match or exact_match_lower, for which any of several "
            "right answers is right."
        )
    matches = right.count(answer.text.strip())
    return float(matches) if len(right) == 1 else min(1.0, matches / _ENOUGH)


def vqav2_accuracy(answer: Answer, truth: Truth) -> float:
    """Return VQAv2's official accuracy of an answer.

    It is the mean over people, each left out once, of min(1, others who said so / 3).
    Where all people said the same, letter by letter, nothing is cleaned.

    Raises:
        ValueError: if the truth has too few answers for any to be wholly right.
    """
    if len(truth.answers) <= _ENOUGH:
        raise ValueError(
            f"expected the answers of at least {_ENOUGH + 1} people (VQAv2 has 10), "
            f"received {len(truth.answers)}. Take the metric vqa_accuracy."
        )
    right = [without_line_breaks(text) for text in truth.answers]
    said = without_line_breaks(answer.text)
    if len(set(right)) > 1:
        right, said = [clean(text) for text in right], clean(said)
    total, matches = len(right), right.count(said)
    without_a_match = min(1.0, max(matches - 1, 0) / _ENOUGH)
    without_another = min(1.0, matches / _ENOUGH)
    return (matches * without_a_match + (total - matches) * without_another) / total


METRICS = (
    MeanMetric(
        name="vqa_accuracy",
        meaning="min(1, people who said so / 3), or 1 for the only right answer",
        source="big_vision `evaluators/proj/paligemma/transfers/vqa.py`, acc",
        score=vqa_accuracy,
    ),
    MeanMetric(
        name="vqav2_accuracy",
        meaning="the official VQAv2 accuracy: each of ten people left out once, "
        "min(1, others who said so / 3), after the official clean-up",
        source="https://visualqa.org/evaluation.html; GT-Vision-Lab/VQA, `vqaEval.py`",
        score=vqav2_accuracy,
    ),
)
