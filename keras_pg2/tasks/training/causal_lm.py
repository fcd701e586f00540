"""Training of a causal model that gets by without the logits of all tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_pg2.generation import samplers
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.tasks.training.accumulation import (
    WeightedUpdates,
    accumulation_steps,
    add_weight,
    check_accumulation,
)
from keras_pg2.tasks.training.compile_configs import for_this_backend
from keras_pg2.tasks.training.compiled import LOSS, Compiled, accuracy_names
from keras_pg2.tasks.training.cross_entropy import Vocabulary
from keras_pg2.tasks.training.feeding import causal_lm as feeding
from keras_pg2.tasks.training.loss import ResponseLoss, token_weights
from keras_pg2.tasks.training.precision import check_trained_dtypes
from keras_pg2.tasks.training.renewal import (
    COMPILED_ATTRIBUTES,
    NOT_KNOWN,
    Compilation,
    fresh_copy,
    is_built_for_others,
)
from keras_pg2.typing import Tensor


class States(NamedTuple):
    """Predictions of a training step: float[B, T, D] hidden states of text tokens."""

    hidden: Tensor


class CausalLM(feeding.CausalLM):
    """A causal model whose training steps go from hidden states to the loss.

    In `train_step` and `test_step` the network gives `States` (`_compute_hidden`), and
    `compute_loss` takes them to loss and accuracy, a chunk of logits at a time. A call
    gives logits, always; if a loss or metric of another kind was compiled, or a
    subclass has a call, loss or metrics of its own, the steps take those, as in any
    Keras model.
    """

    backbone: PaliGemma2Backbone
    # What `compile` chooses by default, for a model that is not compiled.
    sampler: samplers.Sampler | samplers.BeamSearch = samplers.get("greedy")
    _compiled = Compiled(ResponseLoss(), [])
    _has_optimizer_states = False

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

        Where something else trains afterwards (LoRA, another adapter, fewer parts),
        `fit` compiles again, with a fresh optimizer of the same settings.

        Args:
            optimizer: as in `keras.Model.compile`; "auto" is Adam(2e-5).
            loss: as in `keras.Model.compile`; "auto" is `keras_pg2.ResponseLoss()`,
                cross-entropy on response tokens. That loss is computed a chunk of
                tokens at a time, and its means over batches (in logs, in `evaluate`,
                in an update of `gradient_accumulation_steps`) are over tokens or
                examples. Another one is given float32[B, T, V] logits, and is averaged
                as in Keras, as is that of a subclass with its own `compute_loss`.
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
        self._compilation = Compilation(
            loss=loss, weighted_metrics=weighted_metrics, sampler=sampler, **kwargs
        )
        chosen = samplers.get(sampler)
        loss = ResponseLoss() if isinstance(loss, str) and loss == "auto" else loss
        names = accuracy_names(weighted_metrics)
        needs_logits = kwargs.get("metrics") or kwargs.get("loss_weights")
        compiled = Compiled(loss if isinstance(loss, ResponseLoss) else None)
        if compiled.loss is not None and names is not None and not needs_logits:
            compiled = Compiled(compiled.loss, names)
            weighted_metrics = None
        self._compiled = compiled.with_metrics()
        super().compile(
            optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs
        )
        if self._averaged_loss() is not None:
            add_weight(self.optimizer)
        self.sampler = chosen

    @property
    def chunked_loss(self) -> ResponseLoss | None:
        """Loss that `fit` computes from hidden states; None if it needs all logits."""
        return self._compiled.loss if self._takes_states() else None

    def check_trains(self) -> None:
        """Raise ValueError if all weights are frozen; it says what to call."""
        if not self.trainable_variables:
            raise ValueError(
                "Expected a model with something to train. Received: one whose weights "
                f"are all frozen. {self._how_to_train()}"
            )

    def _how_to_train(self) -> str:
        """Return what to call where all weights are frozen."""
        return "Set trainable."

    def _before_training(self) -> None:
        self.check_trains()
        self._renew_optimizer()

    def _renew_optimizer(self) -> None:
        """Compile again, with a fresh optimizer, if what trains is not what it knows.

        Keras' optimizers know the variables that they were built for alone, and what
        they keep of an adapter means nothing to another one in the same variables.
        """
        if not self.compiled or self.optimizer is None:
            return
        before = adapter = self._compilation.adapter
        if self.train_function is None:  # Changes of adapters forget it.
            self._compilation.adapter = adapter = self._active_adapter()
        is_same = before in (adapter, NOT_KNOWN)
        if is_built_for_others(self.optimizer, self.trainable_variables, is_same):
            set_since = {name: getattr(self, name) for name in COMPILED_ATTRIBUTES}
            arguments = self._compilation.arguments
            CausalLM.compile(self, fresh_copy(self.optimizer), **arguments)
            for name, value in set_since.items():
                setattr(self, name, value)
            self._compilation.adapter = adapter

    def _active_adapter(self) -> str | None:
        """Return the name of the LoRA adapter that trains; None without one."""
        return None

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
        return self._compiled.is_chunked and not any(map(self._overrides, names))

    def _averaged_loss(self) -> ResponseLoss | None:
        """Return the loss whose means are over tokens or examples; None: as in Keras.

        What a `compute_loss` of a subclass gives is known to Keras alone.
        """
        return None if self._overrides("compute_loss") else self._compiled.loss

    def _overrides(self, name: str) -> bool:
        is_own = name in vars(self)
        return is_own or getattr(type(self), name) is not vars(CausalLM)[name]

    def _for_steps(self, **changes: Any) -> CausalLM:
        """Return this model as Keras' steps are to see it: its call gives `States`.

        The steps of all three trainers call the model itself. So they are given a
        shallow copy, which has the same variables and another `call`.

        Args:
            **changes: other attributes of the copy.
        """
        if self._takes_states():
            changes["call"] = self._compute_states
        if not changes:
            return self
        model = object.__new__(type(self))
        model.__dict__.update(self.__dict__, **changes)
        return model

    def make_train_function(self, force: bool = False) -> Any:
        """Compile the training step; see `keras.Model.make_train_function`.

        Raises:
            ValueError: if weights in bfloat16 or float16 are to be trained.
        """
        if force or self.train_function is None:
            check_trained_dtypes(v.dtype for v in self.trainable_variables)
        # TensorFlow traces a function twice if it creates variables, as the first step
        # of an optimizer that is not built does.
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if self._averaged_loss() is not None:
            check_accumulation(self.optimizer)
        return super().make_train_function(force)

    def train_step(self, *arguments: Any) -> Any:
        """Run one step; the arguments are those of the backend's trainer."""
        loss = self._averaged_loss()
        changes: dict[str, Any] = {}
        if loss is not None and accumulation_steps(self.optimizer):
            _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(arguments[-1])
            weight = loss.weight_of(y, sample_weight)
            changes["optimizer"] = WeightedUpdates(self.optimizer, weight)
        return super(CausalLM, self._for_steps(**changes)).train_step(*arguments)

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
        compiled = self._compiled
        if not isinstance(y_pred, States) or compiled.loss is None:
            if training:
                self._check_gradient_of_logits()
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            averaged = self._averaged_loss()
            if averaged is not None and compiled.mean_loss is not None:
                weight = averaged.weight_of(y, sample_weight)
                compiled.mean_loss.update_state(loss, sample_weight=weight)
            return loss
        decoder = self.backbone.text_decoder
        vocabulary = Vocabulary(
            table=decoder.vocabulary_table(),
            logit_soft_cap=decoder.final_logit_soft_cap,
            is_trained=bool(decoder.token_embedding.trainable_variables),
        )
        parts = compiled.loss.of_states(
            y_pred.hidden, vocabulary, y, sample_weight, training
        )
        for accuracy in compiled.accuracies:
            accuracy.update_state(parts.accuracy, sample_weight=parts.accuracy_weight)
        loss = sum((ops.sum(extra) for extra in self.losses), parts.loss)
        if compiled.mean_loss is not None:
            compiled.mean_loss.update_state(loss, sample_weight=parts.loss_weight)
        return loss

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
        for accuracy in self._compiled.accuracies:
            matches = keras.metrics.sparse_categorical_accuracy(y, y_pred)
            # Flat, as Keras takes the mean of a row's weights, whatever its length.
            weights = token_weights(sample_weight, ops.convert_to_tensor(y, "int32"))
            accuracy.update_state(
                ops.reshape(matches, (-1,)), sample_weight=ops.reshape(weights, (-1,))
            )
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and metrics, as in `keras.Model`.

        Keras' own mean of losses counts a batch by its rows. It goes on, unused.
        """
        found, mean_loss = super().metrics, self._compiled.mean_loss
        if mean_loss is not None and self._averaged_loss() is not None:
            found = [mean_loss, *(each for each in found if each.name != LOSS)]
        return [*found, *self._compiled.accuracies]

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return what `compile` was given, for saving."""
        config = super().get_compile_config()
        if not config:
            return config
        if self._compilation.arguments.get("jit_compile", "auto") == "auto":
            # Keras notes what "auto" was here; another backend chooses anew.
            config = {**config, "jit_compile": "auto"}
        if self._compiled.is_chunked:
            names = [accuracy.name for accuracy in self._compiled.accuracies]
            config = {**config, "weighted_metrics": names}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says; the sampler stays."""
        given = keras.saving.deserialize_keras_object(for_this_backend(config))
        self.compile(**given, sampler=self.sampler)
        # Keras builds it always, with two numbers a weight that nobody has asked for.
        if self.optimizer is not None and self._has_optimizer_states:
            self.optimizer.build(self.trainable_variables)
