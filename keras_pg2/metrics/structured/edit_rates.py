"""Edit-distance rates: characters, words, symbols and lines.

A rate is how many units are to be inserted, deleted or replaced, by how many the truth
has. Over a data set it is all edits by all units; the mean of the examples' own rates,
in which short texts weigh as much as long ones, is another figure, `NAME_mean`.

Symbols and lines are those of **kern text as the Sheet Music Transformer is scored
(arXiv:2402.07596; github.com/antoniorv6/SMT, `eval_functions.py`): symbols are parted
by blanks, and the tab and the end of a line are symbols of their own. Its characters
are all characters, tabs and ends of lines too. It divides all edits by all units.
PaliGemma 2 (arXiv:2412.03555, section 4.5) cites its metrics and calls them the
normalized mean edit distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    weights,
    with_kinds,
)

_ADVICE = "Run: pip install 'keras-pg2[evaluation]'"


def characters(text: str) -> list[str]:
    """Return the characters of a text, blanks around it left out."""
    return list(text.strip())


def words(text: str) -> list[str]:
    """Return what is parted by blanks, tabs and ends of lines."""
    return text.split()


def symbols(text: str) -> list[str]:
    """Return the symbols of **kern text, with tabs and ends of lines."""
    parted = text.strip().replace("\n", " <b> ").replace("\t", " <t> ")
    return parted.split(" ") if parted else []


def lines(text: str) -> list[str]:
    """Return the lines of a text, blanks around it left out."""
    return text.strip().split("\n") if text.strip() else []


@dataclass(frozen=True, kw_only=True)
class EditRate(PreparedMetric):
    """Edits by units of the truth. Of several truths the one of the lowest rate counts.

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        source: As for `Metric`.
        units: Parts a text.
    """

    name: str
    meaning: str
    source: str
    units: Callable[[str], list[str]]
    is_higher_better: bool = False

    def check(self) -> None:
        """Raise ImportError if rapidfuzz is not installed."""
        import_packages("rapidfuzz", advice=_ADVICE)

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the number of edits, and of the truth's units.

        Raises:
            ValueError: if the truth has no text.
        """
        if not truth.answers:
            raise ValueError("expected a text as truth, received none.")
        from rapidfuzz.distance import Levenshtein

        given = self.units(answer.text)
        pairs = []
        for text in truth.answers:
            wanted = self.units(text)
            pairs.append((Levenshtein.distance(given, wanted), len(wanted)))
        edits, length = min(pairs, key=lambda pair: _rate(*pair))
        return {"edits": edits, "length": length, "kind": truth.kind}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the rate of each example, 0 for no error.

        It may be above 1. Of an empty truth it is the number of edits.
        """
        return np.array([_rate(row["edits"], row["length"]) for row in rows])

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to the rate, the mean rate and each kind's."""
        edits, lengths = column(rows, "edits"), column(rows, "length")
        rates, kinds = self.scores(rows), Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(rows))
            by_kind = (kinds.means(part, counts) for part in (edits, lengths))
            edits_by_kind, lengths_by_kind = by_kind
            own = {
                self.name: _rate(float(drawn @ edits), float(drawn @ lengths)),
                f"{self.name}_mean": mean(rates, counts),
            }
            of_kinds = {
                kind: edits_by_kind[kind] / length if length else float("nan")
                for kind, length in lengths_by_kind.items()
            }
            return with_kinds(own, of_kinds)

        return figures


def _rate(edits: float, length: float) -> float:
    """Return edits by length; of nothing to be said the edits, as jiwer has it."""
    return float(edits / max(length, 1))


_JIWER = "jiwer, `cer` and `wer`; blanks around the text and between words left out"
_MUSIC = "Sheet Music Transformer, arXiv:2402.07596, `eval_functions.py`"
METRICS = (
    EditRate(
        name="cer",
        meaning="edits of characters by characters of the truth",
        source=f"{_MUSIC}; {_JIWER}",
        units=characters,
    ),
    EditRate(
        name="wer",
        meaning="edits of words by words of the truth",
        source=_JIWER,
        units=words,
    ),
    EditRate(
        name="ser",
        meaning="edits of symbols by symbols of the truth, for **kern music",
        source=_MUSIC,
        units=symbols,
    ),
    EditRate(
        name="ler",
        meaning="edits of lines by lines of the truth, for **kern music",
        source=_MUSIC,
        units=lines,
    ),
)
