"""All metrics by name."""

from __future__ import annotations

from collections.abc import Mapping

from keras_pg2.checks.names import find_by_name
from keras_pg2.metrics import answers, calibration, perplexity
from keras_pg2.metrics.metric import Metric
from keras_pg2.metrics.structured import (
    edit_rates,
    grits,
    molecules,
    radiology,
    teds,
    text_spotting,
)
from keras_pg2.metrics.things import average_precision, referring

_FAMILIES: tuple[tuple[Metric, ...], ...] = (
    answers.METRICS,
    calibration.METRICS,
    perplexity.METRICS,
    average_precision.METRICS,
    referring.METRICS,
    edit_rates.METRICS,
    teds.METRICS,
    grits.METRICS,
    molecules.METRICS,
    text_spotting.METRICS,
    radiology.METRICS,
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric for family in _FAMILIES for metric in family
}
"""Every metric by name; each family's module has its own under `METRICS`."""


def get(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        ValueError: if there is none of the name; says which is near.
    """
    return find_by_name(METRICS, name, "a metric")
