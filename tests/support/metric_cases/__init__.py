"""Drawn answers and truths for every metric; each module has its own under `CASES`.

Answers of a case are often right, nearly right, or wrong in the ways that the metric is
about, so that no figure stays at 0 or 1.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module

import numpy as np

from keras_pg2.metrics.metric import Answer, Truth

OUTSIDE = {
    "meteor": "a program in Java",
    "spice": "a program in Java, which downloads another one",
    "radgraph_f1": "a network that its package downloads",
}
"""Metrics that no test computes by themselves, and what they need."""

Draw = Callable[[np.random.Generator], tuple[Answer, Truth]]


def all_cases() -> Mapping[str, Draw]:
    """Return a function for each metric that draws an example, by name."""
    found: dict[str, Draw] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(import_module(f"{__name__}.{module.name}"), "CASES", {})
    return found


def draw_cases(
    name: str, random: np.random.Generator, count: int
) -> list[tuple[Answer, Truth]]:
    """Return examples of a metric."""
    draw = all_cases()[name]
    return [draw(random) for _ in range(count)]
