"""What of an evaluation a report shows: figures, kinds, examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_pg2.evaluation.results import Evaluation, Outcome
from keras_pg2.metrics.registry import METRICS


class FigureRow(NamedTuple):
    """A figure, how sure it is, and what was published.

    Attributes:
        name: Name of the figure.
        value: The figure; NaN where there is none.
        interval: Its bounds; None where they are not known.
        published: The papers' figure; None where there is none.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    published: float | None


class KindRow(NamedTuple):
    """Examples of a kind.

    Attributes:
        kind: The kind; "" for those that have none.
        num_examples: How many there are.
        score: Their mean score; NaN where they have none.
    """

    kind: str
    num_examples: int
    score: float


def figure_rows(evaluation: Evaluation) -> list[FigureRow]:
    """Return all figures, the metric's own first."""
    published = evaluation.published.figures if evaluation.published else {}
    return [
        FigureRow(name, value, evaluation.intervals.get(name), published.get(name))
        for name, value in evaluation.figures.items()
    ]


def kind_rows(evaluation: Evaluation) -> list[KindRow]:
    """Return the examples by kind, none where there is one kind only."""
    scores: dict[str, list[float]] = {}
    for outcome in evaluation.outcomes:
        scores.setdefault(outcome.truth.kind, []).append(outcome.score)
    if len(scores) < 2:
        return []
    return [
        KindRow(kind, len(scores[kind]), _mean(scores[kind])) for kind in sorted(scores)
    ]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def is_higher_better(evaluation: Evaluation) -> bool:
    """Return whether a high score of the evaluation's metric is a good one."""
    metric = METRICS.get(evaluation.metric)
    return metric is None or metric.is_higher_better


def worst(evaluation: Evaluation, count: int) -> list[Outcome]:
    """Return the outcomes of the worst scores, the worst first.

    Of equal scores those come first of which the model was surest. Outcomes without a
    score are none of them.
    """
    sign = 1 if is_higher_better(evaluation) else -1
    scored = [one for one in evaluation.outcomes if not math.isnan(one.score)]
    return sorted(scored, key=lambda one: (sign * one.score, -_sureness(one)))[:count]


def _sureness(outcome: Outcome) -> float:
    found = outcome.answer.probability
    if found is None:
        found = outcome.answer.log_probability
    return -math.inf if found is None or math.isnan(found) else found


def sample(evaluation: Evaluation, count: int, seed: int) -> list[Outcome]:
    """Return outcomes drawn by chance, in the order of the data set."""
    total = len(evaluation.outcomes)
    random = np.random.default_rng(seed)
    chosen = random.permutation(total)[:count]
    return [evaluation.outcomes[i] for i in sorted(chosen.tolist())]


def number(value: float | None) -> str:
    """Return a number in three decimals; a dash for none and for NaN."""
    if value is None or math.isnan(value):
        return "\u2013"
    return f"{value:.3f}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """Return bounds as text, "" for none."""
    return "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def level_text(evaluation: Evaluation) -> str:
    """Return what the intervals hold, as "95 % interval"."""
    level = evaluation.settings.get("level", 0.95)
    return (
        f"{100 * level:g} % interval" if isinstance(level, int | float) else "interval"
    )
