"""Metrics that read the statistics of all examples once, and give figures of draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from keras_pg2.metrics.metric import Figures, Statistics


class PreparedMetric:
    """A metric whose figures come from what it prepares of rows."""

    @abstractmethod
    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return `result` of the rows as a function of counts alone."""

    def result(
        self, rows: Sequence[Statistics], counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the figures of all examples; see `prepare`."""
        return self.prepare(rows)(counts)


def column(rows: Sequence[Statistics], key: str) -> np.ndarray:
    """Return float64[N], a statistic of each example."""
    return np.array([row[key] for row in rows], np.float64)


def weights(counts: np.ndarray | None, num_rows: int) -> np.ndarray:
    """Return float64[N], how often each example counts."""
    return np.ones(num_rows) if counts is None else np.asarray(counts, np.float64)
