"""Figures, intervals and single scores of outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keras_pg2.evaluation.intervals import bootstrap
from keras_pg2.evaluation.results import Outcome
from keras_pg2.metrics.metric import Metric, State


@dataclass(frozen=True)
class Scored:
    """What outcomes come to.

    Attributes:
        figures: By name, the metric's own first.
        intervals: Bounds of figures, by name.
        outcomes: The outcomes with their scores.
    """

    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    outcomes: tuple[Outcome, ...]


def score_outcomes(
    metric: Metric,
    outcomes: Sequence[Outcome],
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Scored:
    """Score outcomes, at least one; the order they come in makes no difference.

    Args:
        metric: What scores them.
        outcomes: Examples with their answers; their scores are made anew.
        num_draws: Draws of the intervals; 0 computes none.
        level: Share of the draws that an interval holds.
        seed: Seed of the draws.

    Raises:
        ValueError: if an example lacks what the metric needs; names it.
    """
    state = State(metric)
    state.update(
        [one.id for one in outcomes],
        [one.answer for one in outcomes],
        [one.truth for one in outcomes],
    )
    rows = state.rows
    statistics = list(rows.values())
    scores = dict(zip(rows, metric.scores(statistics).tolist(), strict=True))
    intervals: Mapping[str, tuple[float, float]] = {}
    if num_draws:
        intervals = bootstrap(metric, statistics, num_draws, level, seed)
    return Scored(
        state.result(),
        intervals,
        tuple(replace(one, score=scores[one.id]) for one in outcomes),
    )
