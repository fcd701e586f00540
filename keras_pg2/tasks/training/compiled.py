"""What `compile` chose for training steps: a loss, its mean, and accuracies."""

from __future__ import annotations

from typing import Any

import keras

from keras_pg2.tasks.training.loss import ResponseLoss

LOSS = "loss"
"""Keras' name of the mean of losses, in logs and in the history."""
ACCURACY = "sparse_categorical_accuracy"
"""KerasHub's name of the accuracy that a causal model has by default."""
ACCURACY_NAMES = ("accuracy", "acc", ACCURACY)


class Compiled:
    """What steps compute; an object that Keras does not track.

    Args:
        loss: Loss whose means are over tokens or examples; None for another one.
        names: Names of accuracies that are computed beside it from hidden states, a
            chunk at a time; None if steps need logits.
    """

    mean_loss: keras.metrics.Mean | None = None
    accuracies: tuple[keras.metrics.Mean, ...] = ()

    def __init__(
        self, loss: ResponseLoss | None = None, names: list[str] | None = None
    ) -> None:
        self.loss = loss
        self.names = names
        self.is_chunked = loss is not None and names is not None

    def with_metrics(self) -> Compiled:
        """Make the means, which have variables, and return this object."""
        # float32 also where Keras' float type is bfloat16, in which one counts to 256.
        if self.loss is not None:
            self.mean_loss = keras.metrics.Mean(name=LOSS, dtype="float32")
        self.accuracies = tuple(
            keras.metrics.Mean(name=name, dtype="float32") for name in self.names or ()
        )
        return self


def accuracy_names(weighted_metrics: Any) -> list[str] | None:
    """Return names of accuracies; None if other metrics are there: they need logits."""
    if isinstance(weighted_metrics, str) and weighted_metrics == "auto":
        return [ACCURACY]
    if weighted_metrics is None:
        return []
    if not isinstance(weighted_metrics, list | tuple):
        return None
    is_known = [
        isinstance(each, str) and each in ACCURACY_NAMES for each in weighted_metrics
    ]
    return list(weighted_metrics) if all(is_known) else None
