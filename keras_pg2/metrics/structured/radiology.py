"""RadGraph F1 of radiology reports, by the package `radgraph`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
)

_ADVICE = (
    "Run: pip install radgraph. It downloads a model of its own when it is first used."
)
LEVELS = ("simple", "partial", "complete")
"""What has to agree: entities; whether they have relations too; the relations too."""


@cache
def _scorer() -> Any:
    [radgraph] = import_packages("radgraph", advice=_ADVICE)
    return radgraph.F1RadGraph(reward_level="all")


@dataclass(frozen=True, kw_only=True)
class RadGraphF1(PreparedMetric):
    """F1 of the entities that RadGraph finds in report and truth.

    PaliGemma 2 reports the F1 score between extracted entities and says no more;
    "partial" is the level that most papers report, and the metric's own figure.
    """

    name: str = "radgraph_f1"
    meaning: str = "F1 of clinical entities and relations, by RadGraph"
    source: str = (
        "Jain et al. 2021, arXiv:2106.14463; Delbrouck et al. 2022, arXiv:2210.12186; "
        "package `radgraph`, F1RadGraph"
    )
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if the package `radgraph` is not installed."""
        import_packages("radgraph", advice=_ADVICE)

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the score of a report at each level; 0 for an empty one.

        Raises:
            ValueError: if the truth is not one report.
            ImportError: if the package `radgraph` is not installed.
        """
        if len(truth.answers) != 1 or not truth.answers[0].strip():
            raise ValueError("expected one report as truth, received none or several.")
        if not answer.text.strip():
            return dict.fromkeys(LEVELS, 0.0)
        _, rewards, *_ = _scorer()(hyps=[answer.text], refs=[truth.answers[0]])
        return {level: float(own[0]) for level, own in zip(LEVELS, rewards)}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N] scores at the level "partial"."""
        return column(rows, "partial")

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to the mean at "partial", then at each level."""
        columns = {self.name: self.scores(rows)}
        columns |= {f"radgraph_{level}": column(rows, level) for level in LEVELS}
        return lambda counts=None: {
            name: mean(own, counts) for name, own in columns.items()
        }


METRICS = (RadGraphF1(),)
