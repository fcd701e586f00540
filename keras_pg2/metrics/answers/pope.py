"""POPE: is there such a thing in the picture, yes or no (arXiv:2305.10355)?

Sources disagree on what an answer says. big_vision takes "yes" and "no" alone and tells
how many answers are one of them; the program of POPE's authors takes every answer as a
yes that has none of the words No, no and not in its first sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_pg2.checks.texts import short_repr
from keras_pg2.metrics.answers.exact import right_answers
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    mean,
    with_kinds,
)

YES, NO = "yes", "no"
_NO_WORDS = {"No", "no", "not"}


def read_strictly(text: str) -> str:
    """Return "yes" or "no" if the answer is that in any case; "" for others."""
    said = text.strip().lower()
    return said if said in (YES, NO) else ""


def read_words(text: str) -> str:
    """Return "no" if the first sentence has a word of denial, otherwise "yes"."""
    words = text.partition(".")[0].replace(",", "").split(" ")
    return YES if _NO_WORDS.isdisjoint(words) else NO


@dataclass(frozen=True, kw_only=True)
class Pope(PreparedMetric):
    """Accuracy, precision, recall and F1 of yes, and how often it is said.

    An answer that is neither yes nor no is wrong and no yes. Precision is 0.0 where yes
    is never said, recall where it is never true, and F1 is NaN where it is neither.
    `yes_share` and `valid_percent` (the name is big_vision's) are shares of answers, in
    [0, 1]. Kinds are random, popular and adversarial; each has its accuracy, and its F1
    as "random f1".

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        source: As for `Metric`.
        read: Returns "yes", "no" or "" of an answer's text.
        is_higher_better: True.
    """

    name: str
    meaning: str
    source: str
    read: Callable[[str], str]
    is_higher_better: bool = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return what is said and what is true, "yes", "no" or "", and the kind.

        Raises:
            ValueError: if the truth is neither yes nor no.
        """
        right = read_strictly(right_answers(truth)[0])
        if not right:
            raise ValueError(
                "expected yes or no as the right answer, received "
                f"{short_repr(truth.answers[0])}."
            )
        return {"said": self.read(answer.text), "right": right, "kind": truth.kind}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], 1.0 for right answers."""
        return np.array([row["said"] == row["right"] for row in rows], np.float64)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to figures."""
        kinds, scores = Kinds(row["kind"] for row in rows), self.scores(rows)
        said = np.array([row["said"] == YES for row in rows], np.float64)
        true = np.array([row["right"] == YES for row in rows], np.float64)
        valid = np.array([row["said"] != "" for row in rows], np.float64)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            hits, yes, truly = (mean(x, counts) for x in (said * true, said, true))
            of_kinds = [kinds.means(x, counts) for x in (said * true, said, true)]
            f1_of_kinds = {
                f"{kind} f1": _f1(*(means[kind] for means in of_kinds))
                for kind in kinds.names
            }
            own = {
                self.name: mean(scores, counts),
                "precision": hits / yes if yes else 0.0,
                "recall": hits / truly if truly else 0.0,
                "f1": _f1(hits, yes, truly),
                "yes_share": yes,
                "valid_percent": mean(valid, counts),
            }
            return with_kinds(own, {**kinds.means(scores, counts), **f1_of_kinds})

        return figures


def _f1(hits: float, said: float, true: float) -> float:
    """Return the harmonic mean of precision and recall, from shares of examples.

    NaN where yes is neither said nor true, as in draws of few examples: 0.0 would say
    that all was wrong.
    """
    return 2 * hits / (said + true) if said + true else float("nan")


METRICS = (
    Pope(
        name="pope",
        meaning="share of right answers among yes and no, others wrong; precision, "
        "recall and F1 of yes",
        source="big_vision `evaluators/proj/paligemma/transfers/pope.py`",
        read=read_strictly,
    ),
    Pope(
        name="pope_words",
        meaning="POPE where every answer is a yes that has no word of denial in its "
        "first sentence",
        source="AoiDragon/POPE `evaluate.py`",
        read=read_words,
    ),
)
