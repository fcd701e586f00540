"""ANLS: how alike an answer and the nearest right one are, letter by letter.

Sources disagree in two details. The paper (Biten et al., arXiv:1907.00490, equation 1)
and big_vision give 0 where half of the letters are wrong, and divide by the longer of
the texts that are compared; the program of the Robust Reading Competition, whose
figures stand on DocVQA's leaderboard, gives 0.5 there, and divides by the longer of the
texts before blanks are taken off.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.edit_distance import edit_distance
from keras_pg2.metrics.metric import Answer, MeanMetric, Truth

_THRESHOLD = 0.5


def anls(answer: Answer, truth: Truth) -> float:
    """Return 1 - edit distance / longer length to the nearest right answer.

    0.0 where half of the letters or more are wrong. Both are in lower case.

    Raises:
        ValueError: if the truth has no answer.
    """
    return _best(str.lower, answer, truth)


def anls_case_sensitive(answer: Answer, truth: Truth) -> float:
    """Return `anls` of the answers as they are.

    Raises:
        ValueError: if the truth has no answer.
    """
    return _best(str, answer, truth)


def anls_rrc(answer: Answer, truth: Truth) -> float:
    """Return the similarity by the program of the Robust Reading Competition.

    Raises:
        ValueError: if the truth has no answer.
    """
    right_answers(truth)
    said = _words(answer.text)
    wrong = [
        edit_distance(_words(text), said) / max(len(text), len(answer.text), 1)
        for text in truth.answers
    ]
    similarity = 1 - min(wrong)
    return similarity if similarity >= _THRESHOLD else 0.0


def _best(prepare: Callable[[str], str], answer: Answer, truth: Truth) -> float:
    said = prepare(answer.text.strip())
    right = [prepare(text) for text in right_answers(truth)]
    return max(_similarity(said, text) for text in right)


def _similarity(said: str, right: str) -> float:
    if said == right:
        return 1.0
    longer = max(len(said), len(right))
    if abs(len(said) - len(right)) / longer >= _THRESHOLD:
        return 0.0
    wrong = edit_distance(said, right) / longer
    return 1 - wrong if wrong < _THRESHOLD else 0.0


def _words(text: str) -> str:
    return " ".join(text.lower().split())


_BIG_VISION = "big_vision `evaluators/proj/paligemma/transfers/vqa.py`, anls"

METRICS = (
    MeanMetric(
        name="anls",
        meaning="1 - edit distance / longer length to the nearest right answer, 0 from "
        "a half on; lower case",
        source=f"{_BIG_VISION} with to_lower; arXiv:1907.00490, equation 1",
        score=anls,
    ),
    MeanMetric(
        name="anls_case_sensitive",
        meaning="anls where upper and lower case differ",
        source=_BIG_VISION,
        score=anls_case_sensitive,
    ),
    MeanMetric(
        name="anls_rrc",
        meaning="anls as the Robust Reading Competition scores DocVQA: 0.5 stays 0.5",
        source="https://rrc.cvc.uab.es/?ch=17, evaluation script; lmms-eval "
        "`api/metrics.py`, anls",
        score=anls_rrc,
    ),
)
