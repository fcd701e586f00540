"""How sure figures are: intervals by drawing the examples again (bootstrap).

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13,
percentile intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one, check_seed
from keras_pg2.metrics.metric import Metric, Prepared, Statistics

MAX_DRAWS = 1_000_000
"""Draws that are kept at once, and say no more than a tenth of them do."""


def bootstrap(
    metric: Metric,
    rows: Sequence[Statistics],
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of every figure, by name.

    As many examples as there are, each as often as chance has it, make a draw; an
    interval holds the share `level` of the draws' figures. The same seed gives the same
    intervals. A figure that no draw has is left out.

    Args:
        metric: The metric; one that is `Prepared` reads the rows once.
        rows: Its statistics of all examples.
        num_draws: Number of draws.
        level: Share of the draws that an interval holds, in (0, 1).
        seed: Seed of the draws.

    Raises:
        ValueError: if there are no rows, or an argument is not as above.
    """
    draws = draw_figures(metric, rows, num_draws, seed)
    return intervals_of(draws, level)


def check_draws(num_draws: int) -> None:
    """Raise ValueError unless it is a number of draws that are kept at once."""
    check_at_least_one("num_draws", num_draws)
    if num_draws > MAX_DRAWS:
        raise ValueError(
            f"Expected at most {MAX_DRAWS:,} draws of intervals, received "
            f"{num_draws:,}."
        )


def draw_figures(
    metric: Metric, rows: Sequence[Statistics], num_draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Return float64[D], each figure of D draws; NaN in draws that have it not.

    Draw d has the same examples for every metric and rows of the same number.

    Args:
        metric: The metric.
        rows: Its statistics of all examples.
        num_draws: D.
        seed: Seed of the draws.

    Raises:
        ValueError: if there are no rows, or an argument is not as above.
    """
    check_draws(num_draws)
    check_seed(seed)
    if not len(rows):
        raise ValueError("Expected at least one example to draw, received none.")
    figures = (
        metric.prepare(rows)
        if isinstance(metric, Prepared)
        else partial(metric.result, rows)
    )
    draws = {name: np.full(num_draws, np.nan) for name in figures(None)}
    for draw, counts in enumerate(_draw_counts(len(rows), num_draws, seed)):
        for name, value in figures(counts).items():
            draws[name][draw] = value
    return draws


def intervals_of(
    draws: Mapping[str, np.ndarray], level: float
) -> dict[str, tuple[float, float]]:
    """Return the ends of the middle part of each figure's draws.

    Args:
        draws: float64[D] by name. Draws without the figure have NaN and are left out.
        level: Share of the draws in the middle, in (0, 1).

    Raises:
        ValueError: if the level is no such share.
    """
    if not 0 < level < 1:
        raise ValueError(f"Expected level between 0 and 1, as 0.95; received {level}.")
    ends = (1 - level) / 2, (1 + level) / 2
    found = {}
    for name, values in draws.items():
        numbers = values[~np.isnan(values)]
        if len(numbers):
            low, high = np.quantile(numbers, ends).tolist()
            found[name] = low, high
    return found


def _draw_counts(num_rows: int, num_draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield int64[N], how often each row is drawn."""
    random = np.random.default_rng(seed)
    for _ in range(num_draws):
        drawn = random.integers(num_rows, size=num_rows)
        yield np.bincount(drawn, minlength=num_rows)
