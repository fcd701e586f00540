"""Training of a causal model that gets by without the logits of all tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pg2.datasets.loading import FollowEpochs, RowBatches
from keras_pg2.generation import samplers
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.training.compile_configs import for_this_backend
from keras_pg2.tasks.training.cross_entropy import Vocabulary
from keras_pg2.tasks.training.feeding import Data, is_loader, prepare_data
from keras_pg2.tasks.training.loss import ResponseLoss
from keras_pg2.typing import Tensor

ACCURACY = "sparse_categorical_accuracy"
"""KerasHub's name of the accuracy that a causal model has by default."""
ACCURACY_NAMES = ("accuracy", "acc", ACCURACY)


class States(NamedTuple):
    """Predictions of a training step: float[B, T, D] hidden states of text tokens."""

    hidden: Tensor


class _Chunked:
    """What steps compute from hidden states; an object that Keras does not track.

    Args:
        loss: Loss to compute in chunks; None if the steps need logits.
        names: Names of the accuracies.
    """

    def __init__(self, loss: ResponseLoss | None, names: list[str]) -> None:
        self.loss = loss
        self.accuracies = [keras.metrics.Mean(name=name) for name in names]


class CausalLM(keras_hub.models.CausalLM):
    """A causal model whose training steps go from hidden states to the loss.

    In `train_step` and `test_step` the network gives `States` (`_compute_hidden`), and
    `compute_loss` takes them to loss and accuracy, a chunk of logits at a time. A call
    gives logits, always; if a loss or metric of another kind was compiled, or a
    subclass has a call, loss or metrics of its own, the steps take those, as in any
    Keras model.
    """

    backbone: PaliGemma2Backbone
    preprocessor: PaliGemma2CausalLMPreprocessor | None
    # What `compile` chooses by default, for a model that is not compiled.
    sampler: samplers.Sampler | samplers.BeamSearch = samplers.get("greedy")
    _chunked = _Chunked(ResponseLoss(), [])
    _chooses_jit = True

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        sampler: str | samplers.Sampler | Any = "greedy",
        **kwargs: Any,
    ) -> None:
        """Configure training and generation.

        Args:
            optimizer: as in `keras.Model.compile`; "auto" is Adam(2e-5).
            loss: as in `keras.Model.compile`; "auto" is `keras_pg2.ResponseLoss()`,
                cross-entropy on response tokens. That loss is computed a chunk of
                tokens at a time; another one is given float32[B, T, V] logits.
            weighted_metrics: as in `keras.Model.compile`; "auto" is accuracy on
                response tokens. Any but "accuracy", "acc" and
                "sparse_categorical_accuracy" needs all logits, as do `metrics` and
                `loss_weights`: the loss is then computed from those too.
            sampler: "greedy", "random", "top_k", "top_p" or "beam", a
                `keras_pg2.Sampler` or `BeamSearch`, or a sampler of KerasHub.
            **kwargs: further arguments of `keras.Model.compile`.

        Raises:
            ValueError: if the sampler is unknown.
        """
        chosen = samplers.get(sampler)
        loss = ResponseLoss() if isinstance(loss, str) and loss == "auto" else loss
        names = _accuracy_names(weighted_metrics)
        needs_logits = kwargs.get("metrics") or kwargs.get("loss_weights")
        self._chunked = _Chunked(None, [])
        if isinstance(loss, ResponseLoss) and names is not None and not needs_logits:
            self._chunked = _Chunked(loss, names)
            weighted_metrics = None
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs
        )
        self.sampler = chosen
        self._chooses_jit = kwargs.get("jit_compile", "auto") == "auto"

    @property
    def chunked_loss(self) -> ResponseLoss | None:
        """Loss that `fit` computes from hidden states; None if it needs all logits."""
        return self._chunked.loss if self._takes_states() else None

    def fit(
        self,
        x: Data = None,
        y: Tensor = None,
        batch_size: int | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
        validation_data: Data = None,
        validation_split: float | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train on pictures, prompts and responses.

        Args:
            x: a dict of lists `images`, `prompts` and `responses`; or batches of such
                dicts: a `tf.data` or Grain data set, a `keras.utils.PyDataset` (as
                `datasets.loading.RowBatches`, in its own order) or a
                `torch.utils.data.DataLoader`.
            y: None: the labels are made of the responses.
            batch_size: rows of a batch, where `x` has lists; 32 if None.
            sample_weight: weights of the rows, where `x` has lists.
            validation_data: as `x`.
            validation_split: as in `keras.Model.fit`, for arrays.
            **kwargs: further arguments of `keras.Model.fit`.

        Returns:
            As `keras.Model.fit`.
        """
        if not isinstance(x, Mapping | tuple):
            # The order is that of the data set; Keras warns of True, its default.
            kwargs.setdefault("shuffle", False)
        if not (is_loader(x) or is_loader(validation_data)):
            return super().fit(
                x,
                y,
                batch_size,
                sample_weight,
                validation_data,
                validation_split,
                **kwargs,
            )
        source, size = x, batch_size or 32
        if sample_weight is not None:
            x = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        x = prepare_data(x, self.preprocess_samples, size)
        if validation_data is not None:
            validation_data = prepare_data(
                validation_data, self.preprocess_samples, size
            )
        kwargs.setdefault("shuffle", False)
        if isinstance(source, RowBatches):
            callbacks = kwargs.get("callbacks") or []
            kwargs["callbacks"] = [*callbacks, FollowEpochs(source)]
        return keras.Model.fit(self, x, validation_data=validation_data, **kwargs)

    def evaluate(
        self, x: Data = None, *args: Any, **kwargs: Any
    ) -> list[float] | float | dict[str, float]:
        """Return loss and metrics of `x`; see `keras.Model.evaluate`.

        Args:
            x: as for `fit`.
            *args: as in `keras.Model.evaluate`.
            **kwargs: as in `keras.Model.evaluate`.
        """
        # Within `fit` Keras has prepared batches at hand.
        if not is_loader(x) or kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(x, *args, **kwargs)
        x = prepare_data(x, self.preprocess_samples, 32)
        return keras.Model.evaluate(self, x, *args, **kwargs)

    def predict(
        self, x: Data = None, batch_size: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Return the logits of `x`, float32[B, T, V]; see `keras.Model.predict`.

        Args:
            x: as for `fit`.
            batch_size: rows of a batch, where `x` has lists; 32 if None.
            **kwargs: further arguments of `keras.Model.predict`.
        """
        if not is_loader(x):
            return super().predict(x, batch_size, **kwargs)
        x = prepare_data(x, self.preprocess_samples, 32)
        return keras.Model.predict(self, x, **kwargs)

    def _compute_hidden(
        self, inputs: dict[str, Tensor], training: bool | None = None
    ) -> Tensor:
        """The backbone's inputs -> float[B, T, D], states of the text tokens."""
        raise NotImplementedError

    def _compute_states(
        self, inputs: dict[str, Tensor], training: bool | None = None
    ) -> States:
        return States(self._compute_hidden(inputs, training))

    def call(
        self, inputs: dict[str, Tensor], training: bool | None = None, **kwargs: Any
    ) -> Tensor:
        return self.backbone(self._compute_hidden(inputs, training), reverse=True)

    def _takes_states(self) -> bool:
        """Return whether steps go by hidden states, as nothing asks for logits.

        Keras gives logits to the `call`, `compute_loss` and `compute_metrics` that a
        subclass has of its own.
        """
        names = ("call", "compute_loss", "compute_metrics")
        return self._chunked.loss is not None and not any(
            name in vars(self) or getattr(type(self), name) is not vars(CausalLM)[name]
            for name in names
        )

    def _for_steps(self) -> CausalLM:
        """Return this model as Keras' steps are to see it: its call gives `States`.

        The steps of all three trainers call the model itself. So they are given a
        shallow copy, which has the same variables and another `call`.
        """
        if not self._takes_states():
            return self
        model = object.__new__(type(self))
        model.__dict__.update(self.__dict__, call=self._compute_states)
        return model

    def make_train_function(self, force: bool = False) -> Any:
        """Compile the training step; see `keras.Model.make_train_function`."""
        # TensorFlow traces a function twice if it creates variables, as the first step
        # of an optimizer that is not built does.
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, *arguments: Any) -> Any:
        """Run one step; the arguments are those of the backend's trainer."""
        return super(CausalLM, self._for_steps()).train_step(*arguments)

    def test_step(self, *arguments: Any) -> Any:
        """Run one step of `evaluate`; see `train_step`."""
        return super(CausalLM, self._for_steps()).test_step(*arguments)

    def compute_loss(
        self,
        x: dict[str, Tensor] | None = None,
        y: Tensor = None,
        y_pred: Tensor | States = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss as in `keras.Model`; `y_pred` may be `States`."""
        chunked = self._chunked
        if not isinstance(y_pred, States) or chunked.loss is None:
            if training:
                self._check_gradient_of_logits()
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        decoder = self.backbone.text_decoder
        vocabulary = Vocabulary(
            table=decoder.vocabulary_table(),
            logit_soft_cap=decoder.final_logit_soft_cap,
            is_trained=bool(decoder.token_embedding.trainable_variables),
        )
        parts = chunked.loss.of_states(
            y_pred.hidden, vocabulary, y, sample_weight, training
        )
        for accuracy in chunked.accuracies:
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
        self,
        x: dict[str, Tensor],
        y: Tensor,
        y_pred: Tensor | States,
        sample_weight: Tensor = None,
    ) -> dict[str, Tensor]:
        """Return metrics as in `keras.Model`; of `States` the loss has the accuracy."""
        if isinstance(y_pred, States):
            return self.get_metrics_result()
        for accuracy in self._chunked.accuracies:
            matches = keras.metrics.sparse_categorical_accuracy(y, y_pred)
            accuracy.update_state(matches, sample_weight=sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and metrics, as in `keras.Model`."""
        return [*super().metrics, *self._chunked.accuracies]

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return what `compile` was given, for saving."""
        config = super().get_compile_config()
        if not config:
            return config
        if self._chooses_jit:
            # Keras notes what "auto" was here; another backend chooses anew.
            config = {**config, "jit_compile": "auto"}
        if self._chunked.loss is not None:
            names = [accuracy.name for accuracy in self._chunked.accuracies]
            config = {**config, "weighted_metrics": names}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says; the sampler stays."""
        given = keras.saving.deserialize_keras_object(for_this_backend(config))
        self.compile(**given, sampler=self.sampler)
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)


def _accuracy_names(weighted_metrics: Any) -> list[str] | None:
    """Names of accuracies; None if there are other metrics, which need logits."""
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
