"""Stands in for the package `radgraph`, which downloads a model.

It has the interface of its 0.1 versions, and takes words for entities.
"""

from __future__ import annotations


class F1RadGraph:
    """Return rewards of three levels for each pair of reports.

    Args:
        reward_level: Has to be "all".
    """

    def __init__(self, *, reward_level: str) -> None:
        assert reward_level == "all"

    def __call__(
        self, *, hyps: list[str], refs: list[str]
    ) -> tuple[tuple[float, ...], tuple[list[float], ...], list[dict], list[dict]]:
        """Return mean rewards, rewards by level, and what was found."""
        assert len(hyps) == len(refs)
        simple = []
        for said, wanted in zip(hyps, refs):
            given, there = set(said.split()), set(wanted.split())
            simple.append(2 * len(given & there) / (len(given) + len(there)))
        levels = (simple, [0.5 * f1 for f1 in simple], [0.25 * f1 for f1 in simple])
        means = tuple(sum(level) / len(level) for level in levels)
        return means, levels, [{} for _ in hyps], [{} for _ in refs]
