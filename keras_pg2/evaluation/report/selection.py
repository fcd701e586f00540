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
    score are left out, and so are those without a fault.
    """
    is_high_good = is_higher_better(evaluation)
    sign = 1 if is_high_good else -1
    faulty = [one for one in _scored(evaluation) if not is_right(one, is_high_good)]
    return sorted(faulty, key=lambda one: (sign * one.score, -_sureness(one)))[:count]


def are_all_right(evaluation: Evaluation) -> bool:
    """Return whether there are answers with a score, and none has a fault."""
    is_high_good = is_higher_better(evaluation)
    scored = _scored(evaluation)
    return bool(scored) and all(is_right(one, is_high_good) for one in scored)


def is_right(outcome: Outcome, is_higher_better: bool) -> bool:
    """Return whether an answer has no fault: a share of 1, or an error of 0."""
    return outcome.score == (1 if is_higher_better else 0)


def _scored(evaluation: Evaluation) -> list[Outcome]:
    return [one for one in evaluation.outcomes if not math.isnan(one.score)]


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


ALL_RIGHT = "None: every answer has the best score."
"""Instead of the worst answers."""


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
