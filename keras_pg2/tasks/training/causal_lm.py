"""How `fit` and `evaluate` get by without the logits of all tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import keras_hub
from keras import ops

from keras_pg2.tasks.training.cross_entropy import Vocabulary
from keras_pg2.tasks.training.loss import ResponseLoss
from keras_pg2.typing import Tensor

ACCURACY = "sparse_categorical_accuracy"
"""KerasHub's name of the accuracy that a causal model has by default."""
ACCURACY_NAMES = ("accuracy", "acc", ACCURACY)


class _Course:
    """What a compiled model's steps go by; a plain object, which Keras does not track.

    Args:
        loss: computed in chunks; None where the steps need logits.
        names: of the accuracies.
    """

    def __init__(self, loss: ResponseLoss | None, names: list[str]) -> None:
        self.loss = loss
        self.accuracies = [keras.metrics.Mean(name=name) for name in names]
        self.is_in_step = False

    @contextmanager
    def step(self) -> Iterator[None]:
        self.is_in_step = self.loss is not None
        try:
            yield
        finally:
            self.is_in_step = False


class CausalLM(keras_hub.models.CausalLM):
    """A causal model whose training steps go from hidden states to the loss.

    Inside `train_step` and `test_step` a call of the model gives float[B, T, D] hidden
    states (`compute_hidden`) where it else gives logits, and `compute_loss` takes
    them to loss and accuracy, a chunk of logits at a time. Everywhere else, and where
    a loss or metric of another kind was compiled, it is a Keras model like any other.

    Named as its base: KerasHub writes the name of a task's base into presets.
    """

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """As `PaliGemma2CausalLM.compile`, which says more."""
        loss = ResponseLoss() if isinstance(loss, str) and loss == "auto" else loss
        names = _accuracy_names(weighted_metrics)
        needs_logits = kwargs.get("metrics") or kwargs.get("loss_weights")
        self.course = _Course(None, [])
        if isinstance(loss, ResponseLoss) and names is not None and not needs_logits:
            self.course = _Course(loss, names)
            weighted_metrics = None
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs
        )

    def compute_hidden(
        self, inputs: dict[str, Tensor], training: bool | None = None
    ) -> Tensor:
        """The backbone's inputs -> float[B, T, D], states of the text tokens."""
        raise NotImplementedError

    def call(
        self, inputs: dict[str, Tensor], training: bool | None = None, **kwargs: Any
    ) -> Tensor:
        # The first call comes from the constructor of Keras' model.
        course = getattr(self, "course", None)
        if course is not None and course.is_in_step:
            return self.compute_hidden(inputs, training)
        return super().call(inputs, training=training, **kwargs)

    def train_step(self, *arguments: Any) -> Any:
        """One step; the arguments are those of the backend's trainer."""
        with self.course.step():
            return super().train_step(*arguments)

    def test_step(self, *arguments: Any) -> Any:
        """One step of `evaluate`; the arguments are those of the backend's trainer."""
        with self.course.step():
            return super().test_step(*arguments)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """As in `keras.Model`; inside a step `y_pred` may be hidden states."""
        course = self.course
        if not course.is_in_step or course.loss is None:
            if training:
                self._check_gradient_of_logits()
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        decoder = self.backbone.text_decoder
        vocabulary = Vocabulary(
            decoder.vocabulary_table(),
            decoder.final_logit_soft_cap,
            bool(decoder.token_embedding.trainable_variables),
        )
        parts = course.loss.of_states(y_pred, vocabulary, y, sample_weight, training)
        for accuracy in course.accuracies:
            accuracy.update_state(parts.accuracy, sample_weight=parts.weight)
        return sum((ops.sum(extra) for extra in self.losses), parts.loss)

    def _check_gradient_of_logits(self) -> None:
        mode = self.backbone.token_embedding.quantization_mode
        if mode is not None:
            raise ValueError(
                "Expected a ResponseLoss, and no metrics but the accuracy, to train "
                "with a quantised token embedding: Keras has no gradient of its "
                f"logits. Received: {self.loss!r} with {mode}. Quantise with filters "
                "that leave token_embedding out to use them."
            )

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """As in `keras.Model`; `compute_loss` has seen to the accuracy."""
        if self.course.is_in_step:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and metrics, as in `keras.Model`."""
        course = getattr(self, "course", None)
        return [*super().metrics, *(course.accuracies if course is not None else ())]

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was given, for saving."""
        config = super().get_compile_config()
        if config and self.course.loss is not None:
            names = [accuracy.name for accuracy in self.course.accuracies]
            config = {**config, "weighted_metrics": names}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` says; the sampler is the default."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)


def _accuracy_names(weighted_metrics: Any) -> list[str] | None:
    """Names of accuracies; None when there are other metrics, which need logits."""
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
