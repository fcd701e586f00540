"""BLEU-1 to BLEU-4 of a corpus, as captions are scored.

Source: Papineni et al. 2002; numbers as pycocoevalcap's `Bleu` gives them: n-grams of
an answer count as often as the reference that has most of them has, the reference
length is the one nearest to the answer's (the shorter of two), and tiny terms keep an
answer without matches above 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keras_pg2.metrics.captions.texts import tokenized_case
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    weights,
)

ORDERS = 4
_SMALL = 1e-9
_TINY = 1e-15
"""Terms of pycocoevalcap against divisions by 0."""


def bleu_counts(answer: str, references: Sequence[str]) -> list[int]:
    """Return the answer's length, the reference's, n-grams, and matches of each order.

    Args:
        answer: Tokens, joined by blanks.
        references: Tokens of each reference.
    """
    words = answer.split()
    right = [reference.split() for reference in references]
    num_ngrams, num_matches = [], []
    for order in range(1, ORDERS + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in right:
            most |= _ngrams(reference, order)
        own = _ngrams(words, order)
        num_ngrams.append(max(len(words) - order + 1, 0))
        num_matches.append(sum((own & most).values()))
    lengths = [len(reference) for reference in right]
    nearest = min(lengths, key=lambda length: (abs(length - len(words)), length))
    return [len(words), nearest, *num_ngrams, *num_matches]


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(order))))


def bleu(counts: np.ndarray) -> np.ndarray:
    """Return float64[N, 4], BLEU-1 to BLEU-4.

    Args:
        counts: float64[N, 10], as `bleu_counts` has them, of one answer or sums of
            several.
    """
    counts = np.asarray(counts, np.float64).reshape(-1, 2 + 2 * ORDERS)
    length, reference = counts[:, :1], counts[:, 1:2]
    num_ngrams, num_matches = counts[:, 2 : 2 + ORDERS], counts[:, 2 + ORDERS :]
    precisions = (num_matches + _TINY) / (num_ngrams + _SMALL)
    orders = np.arange(1, ORDERS + 1)
    scores = np.cumprod(precisions, axis=1) ** (1 / orders)
    ratio = (length + _TINY) / (reference + _SMALL)
    return np.asarray(scores * np.exp(np.minimum(1 - 1 / ratio, 0)))


def corpus_bleu(rows: Sequence[Statistics]) -> Figures:
    """Return a function of counts to BLEU-1 to BLEU-4.

    Args:
        rows: Statistics with `bleu_counts` under "bleu".
    """
    found = column(rows, "bleu")

    def figures(counts: np.ndarray | None = None) -> dict[str, float]:
        scores = bleu(weights(counts, len(found)) @ found)[0].tolist()
        return {f"bleu_{order}": scores[order - 1] for order in range(1, ORDERS + 1)}

    return figures


class Bleu(PreparedMetric):
    """BLEU-4 of all answers together, and the lower orders beside it."""

    name = "bleu"
    meaning = "BLEU-4 of the corpus, nearest reference length"
    source = "pycocoevalcap 1.2, `bleu/bleu_scorer.py`, option closest"
    is_higher_better = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the numbers of words, n-grams and matches.

        Raises:
            ValueError: if there is no reference.
        """
        return {"bleu": bleu_counts(*tokenized_case(answer, truth))}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], each answer's own BLEU-4."""
        return bleu(column(rows, "bleu"))[:, -1]

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to BLEU-4 as "bleu", then BLEU-1 to BLEU-4."""
        of_orders = corpus_bleu(rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            found = of_orders(counts)
            return {self.name: found[f"bleu_{ORDERS}"]} | found

        return figures


METRICS = (Bleu(),)
