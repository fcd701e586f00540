"""What a comparison of a metric with its oracle is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Check:
    """A comparison of a metric with its oracle on drawn cases.

    Attributes:
        metric: Name of the metric, as `keras_pg2.metrics.get` takes it.
        oracle: What it is compared with, and which part of it.
        compare: Returns the largest absolute difference of any figure over so many
            examples, drawn from the generator. Raises ImportError or FileNotFoundError
            if the oracle is not there.
        num_quick: Number of cases in the tests, fewer where the oracle takes long.
    """

    metric: str
    oracle: str
    compare: Callable[[np.random.Generator, int], float]
    num_quick: int = 300
