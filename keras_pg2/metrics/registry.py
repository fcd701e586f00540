"""All metrics by name."""

from __future__ import annotations

from collections.abc import Mapping

from keras_pg2.checks.names import find_by_name
from keras_pg2.metrics import answers, calibration, perplexity
from keras_pg2.metrics.captions import bleu, chair, cider, java, rouge
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

FAMILIES = (
    answers,
    calibration,
    perplexity,
    average_precision,
    referring,
    edit_rates,
    teds,
    grits,
    molecules,
    text_spotting,
    radiology,
    cider,
    bleu,
    rouge,
    java,
    chair,
)
"""Each family's module has its own metrics under `METRICS`."""

METRICS: Mapping[str, Metric] = {
    metric.name: metric for family in FAMILIES for metric in family.METRICS
}
"""Every metric by name."""


def get(name: str) -> Metric:
    """Return a metric by name.

    Raises:
        ValueError: if there is none of the name; says which is near.
    """
    return find_by_name(METRICS, name, "a metric")
