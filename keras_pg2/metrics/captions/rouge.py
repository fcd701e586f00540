"""ROUGE-L, as captions are scored.

Source: Lin 2004; numbers as pycocoevalcap's `Rouge` gives them: the best precision and
the best recall of all references, which may be of two, and recall weighted by
beta = 1.2. An empty answer to an empty reference scores 1 there, any other empty one 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_pg2.metrics.captions.texts import tokenized_case
from keras_pg2.metrics.metric import Answer, MeanMetric, Truth

_BETA = 1.2


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Rows of the table are the bits of an integer (Hyyro 2004, "Bit-parallel LCS-length
    computation revisited").
    """
    positions: dict[str, int] = {}
    for i, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << i
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & positions.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(first) - row.bit_count()


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """Return ROUGE-L of tokens joined by blanks."""
    words = answer.split(" ")
    precision = recall = 0.0
    for reference in references:
        right = reference.split(" ")
        common = common_length(words, right)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(right))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _score(answer: Answer, truth: Truth) -> float:
    return rouge_l(*tokenized_case(answer, truth))


METRICS = (
    MeanMetric(
        name="rouge_l",
        meaning="longest common subsequence with the references, mean of all answers",
        source="pycocoevalcap 1.2, `rouge/rouge.py`",
        score=_score,
    ),
)
