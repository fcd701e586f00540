"""Two evaluations of the same examples, compared example by example."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_pg2 import metrics
from keras_pg2.checks.texts import printable, short_repr
from keras_pg2.evaluation.files import read_report
from keras_pg2.evaluation.intervals import draw_figures, intervals_of
from keras_pg2.evaluation.paired_tests import (
    NUM_FLIPS,
    mcnemar_p_value,
    sign_flip_p_value,
)
from keras_pg2.evaluation.results import Evaluation, Outcome
from keras_pg2.evaluation.things import truth_record
from keras_pg2.metrics.metric import Id, Metric, State

Report: TypeAlias = Evaluation | str | os.PathLike[str]
"""An evaluation, or the directory that one was written to."""

_OF_COMPUTERS = ("seed", "num_draws", "level")
"""Settings that no answer depends on."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of both.

    Attributes:
        name: Name of the figure.
        a: Of the first.
        b: Of the second.
        difference: `b` - `a`.
        interval: Lower and upper bound of the difference, by drawing examples again,
            the same for both; None where no draw has the figure.
    """

    name: str
    a: float
    b: float
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An example of both.

    Attributes:
        a: What the first has of it, scored by the comparison's metric.
        b: What the second has of it.
        score_a: Score of the first; NaN where one example alone has none.
        score_b: Score of the second.
    """

    a: Outcome
    b: Outcome
    score_a: float
    score_b: float

    @property
    def difference(self) -> float:
        """`score_b` - `score_a`."""
        return self.score_b - self.score_a


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two evaluations of the same examples differ.

    Attributes:
        metric: Name of the metric.
        is_higher_better: Whether a higher figure is the better one.
        a: Name of the first model.
        b: Name of the second.
        data_set: Name of the data set, with its split.
        num_examples: Number of examples that both have.
        left_out: Number of examples that the first alone has, and that the second has.
        settings: Settings in which they differ: those of the first and of the second.
        differences: Every figure, the metric's own first.
        better: Number of examples that the second is better at.
        worse: Number of examples that it is worse at.
        equal: Number of examples with the same score.
        test: Name of the test; "" where no example has a score of its own.
        p_value: Two-sided p value of the mean difference of scores; NaN without a test.
        level: Share of the draws that an interval holds.
        pairs: The examples, those that differ most first, then as in the data set.
    """

    metric: str
    is_higher_better: bool
    a: str
    b: str
    data_set: str
    num_examples: int
    left_out: tuple[int, int]
    settings: Mapping[str, tuple[Any, Any]]
    differences: tuple[Difference, ...]
    better: int
    worse: int
    equal: int
    test: str
    p_value: float
    level: float
    pairs: tuple[Pair, ...]


def compare(
    a: Report,
    b: Report,
    metric: str | Metric | None = None,
    *,
    only_common: bool = False,
    num_draws: int = 1000,
    level: float = 0.95,
    num_flips: int = NUM_FLIPS,
    seed: int = 0,
) -> Comparison:
    """Compare two evaluations of the same examples.

        found = evaluation.compare("before/", "after/")
        found.differences[0].interval, found.p_value

    Args:
        a: An evaluation, or the directory of one.
        b: Another one.
        metric: A metric or its name, which scores both; None for the one that both were
            scored by.
        only_common: Whether examples that only one of them has are left out; they are
            an error otherwise.
        num_draws: Draws of the bootstrap.
        level: Share of the draws that an interval holds, in (0, 1).
        num_flips: Draws of the test, where scores are others than 0 and 1.
        seed: Seed of both.

    Raises:
        FileNotFoundError: if there is no report in a directory.
        OSError: if a file cannot be read.
        ImportError: if the metric needs a package that is not installed.
        ValueError: if the evaluations are of other metrics or examples, or an argument
            is not as above.
    """
    first, second = (
        each if isinstance(each, Evaluation) else read_report(each) for each in (a, b)
    )
    chosen = _choose_metric(metric, first, second)
    chosen.check()
    common, left_out = _common_examples(first, second, only_common)
    chosen_ids = set(common)
    outcomes = [
        {one.id: one for one in each.outcomes if one.id in chosen_ids}
        for each in (first, second)
    ]
    for key in common:
        _check_truth(outcomes[0][key], outcomes[1][key], (first, second))
    states = [_score(chosen, list(each.values())) for each in outcomes]
    rows = [list(state.rows.values()) for state in states]
    scores = [
        dict(zip(state.rows, chosen.scores(each).tolist()))
        for state, each in zip(states, rows)
    ]
    pairs = [
        Pair(
            a=outcomes[0][key],
            b=outcomes[1][key],
            score_a=scores[0][key],
            score_b=scores[1][key],
        )
        for key in common
    ]
    apart = np.array([pair.difference for pair in pairs], np.float64)
    gains = apart if chosen.is_higher_better else -apart
    test, p_value = _test(pairs, num_flips, seed)
    return Comparison(
        metric=chosen.name,
        is_higher_better=chosen.is_higher_better,
        a=first.model,
        b=second.model,
        data_set=_data_of(first),
        num_examples=len(common),
        left_out=left_out,
        settings=_changed_settings(first, second),
        differences=_differences(chosen, rows, num_draws, level, seed),
        better=int(np.sum(gains > 0)),
        worse=int(np.sum(gains < 0)),
        equal=int(np.sum(gains == 0)),
        test=test,
        p_value=p_value,
        level=level,
        pairs=tuple(sorted(pairs, key=_nearness)),
    )


def _nearness(pair: Pair) -> float:
    """Key of an order that begins with the largest difference and ends with NaN."""
    apart = abs(pair.difference)
    return -apart if apart == apart else 1.0


def _choose_metric(metric: str | Metric | None, a: Evaluation, b: Evaluation) -> Metric:
    if metric is None and a.metric != b.metric:
        raise ValueError(
            f"Expected two evaluations by the same metric, received {a.metric} of "
            f"{printable(a.model)} and {b.metric} of {printable(b.model)}. Name one "
            "metric to score both by (--metric)."
        )
    name = a.metric if metric is None else metric
    return metrics.get(name) if isinstance(name, str) else name


def _data_of(evaluation: Evaluation) -> str:
    return " ".join(part for part in (evaluation.data_set, evaluation.split) if part)


def _both(a: Evaluation, b: Evaluation) -> str:
    """Return what both are of, for errors."""
    shown = [
        printable(_data_of(each)) or "a data set without a name" for each in (a, b)
    ]
    return f"{shown[0]} (first) and {shown[1]} (second)"


def _common_examples(
    a: Evaluation, b: Evaluation, only_common: bool
) -> tuple[list[Id], tuple[int, int]]:
    """Return ids of both in the order of the first, and how many each has alone."""
    keys = [[one.id for one in each.outcomes] for each in (a, b)]
    of_first, of_second = map(set, keys)
    common = [key for key in keys[0] if key in of_second]
    alone = [
        [key for key in keys[0] if key not in of_second],
        [key for key in keys[1] if key not in of_first],
    ]
    left_out = len(alone[0]), len(alone[1])
    if not common:
        raise ValueError(
            "Expected two evaluations of the same examples, received none that both "
            f"have: {_both(a, b)}."
        )
    if any(left_out) and not only_common:
        failed = {failure.id for each in (a, b) for failure in each.failures}
        example = (alone[0] or alone[1])[0]
        had = "no answer in the other one" if example in failed else "only in one"
        raise ValueError(
            f"Expected two evaluations of the same examples, received {left_out[0]} "
            f"that only the first has and {left_out[1]} that only the second has, of "
            f"{_both(a, b)}; {short_repr(example)} is {had}. Compare those that "
            "both have with only_common=True (--only-common)."
        )
    return common, left_out


def _check_truth(a: Outcome, b: Outcome, of: tuple[Evaluation, Evaluation]) -> None:
    if truth_record(a.truth) != truth_record(b.truth):
        raise ValueError(
            "Expected two evaluations of the same examples, received another truth of "
            f"the example {short_repr(a.id)} in each, of {_both(*of)}: "
            f"{short_repr(a.truth.answers)} and "
            f"{short_repr(b.truth.answers)}. Evaluate both on the same files."
        )


def _score(metric: Metric, outcomes: Sequence[Outcome]) -> State:
    state = State(metric)
    state.update(
        [one.id for one in outcomes],
        [one.answer for one in outcomes],
        [one.truth for one in outcomes],
    )
    return state


def _differences(
    metric: Metric, rows: Sequence[list[Any]], num_draws: int, level: float, seed: int
) -> tuple[Difference, ...]:
    figures = [metric.result(each) for each in rows]
    # Rows stand in the order of their ids, so that a draw has the same of both.
    draws = [draw_figures(metric, each, num_draws, seed) for each in rows]
    shared = [name for name in figures[0] if name in figures[1]]
    apart = {name: draws[1][name] - draws[0][name] for name in shared}
    intervals = intervals_of(apart, level)
    return tuple(
        Difference(
            name=name,
            a=figures[0][name],
            b=figures[1][name],
            difference=figures[1][name] - figures[0][name],
            interval=intervals.get(name),
        )
        for name in shared
    )


def _test(pairs: Sequence[Pair], num_flips: int, seed: int) -> tuple[str, float]:
    """Return the name of the test that fits the scores, and its p value."""
    scores = np.array([(pair.score_a, pair.score_b) for pair in pairs], np.float64)
    scores = scores[~np.isnan(scores).any(axis=1)]
    if not len(scores):
        return "", float("nan")
    apart = scores[:, 1] - scores[:, 0]
    if np.isin(scores, (0.0, 1.0)).all():
        better, worse = int(np.sum(apart > 0)), int(np.sum(apart < 0))
        return "McNemar's exact test", mcnemar_p_value(better, worse)
    return "sign-flip test of the mean", sign_flip_p_value(apart, num_flips, seed)


def _changed_settings(a: Evaluation, b: Evaluation) -> dict[str, tuple[Any, Any]]:
    names = [*a.settings, *(name for name in b.settings if name not in a.settings)]
    changed = {
        name: (a.settings.get(name), b.settings.get(name))
        for name in names
        if name not in _OF_COMPUTERS and a.settings.get(name) != b.settings.get(name)
    }
    recipes = a.recipe, b.recipe
    return changed | ({"recipe": recipes} if recipes[0] != recipes[1] else {})
