"""ChartQA: numbers may be a little off."""

from __future__ import annotations

from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.metric import Answer, MeanOfKinds, Truth

_TOLERANCE = 0.05


def relaxed_match(answer: Answer, truth: Truth) -> float:
    """Return 1.0 for a number within 5 % of a right one, or an equal answer.

    Texts are in lower case, and "5%" is 0.05. A right answer of 0 is compared as a
    text, as the source has it.

    Raises:
        ValueError: if the truth has no answer.
    """
    said = answer.text.strip().lower()
    return float(any(_matches(said, text.lower()) for text in right_answers(truth)))


def _matches(said: str, right: str) -> bool:
    number, target = _number(said), _number(right)
    if number is None or not target:
        return said == right
    return abs(number - target) / abs(target) <= _TOLERANCE


def _number(text: str) -> float | None:
    try:
        if text.endswith("%"):
            return float(text.rstrip("%")) / 100
        return float(text)
    except ValueError:
        return None


METRICS = (
    MeanOfKinds(
        name="relaxed_accuracy",
        meaning="numbers within 5 %, other answers equal in lower case; mean of the "
        "human and the augmented questions' shares",
        source="pix2struct `metrics.py`, relaxed_correctness; big_vision "
        "`evaluators/proj/paligemma/transfers/chartqa.py`; arXiv:2203.10244, section 5",
        score=relaxed_match,
    ),
)
