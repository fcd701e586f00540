"""Metrics of short answers: words, numbers, yes or no."""

from keras_pg2.metrics.answers import (
    charts,
    counting,
    edit_similarity,
    exact,
    pope,
    remote_sensing,
    science,
    vqa,
)

METRICS = (
    *exact.METRICS,
    *vqa.METRICS,
    *edit_similarity.METRICS,
    *charts.METRICS,
    *counting.METRICS,
    *remote_sensing.METRICS,
    *science.METRICS,
    *pope.METRICS,
)
