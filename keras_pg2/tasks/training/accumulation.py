"""Accumulated gradients: an update by several batches is that of all of them as one.

Keras sums the gradients of N batches and divides by N, so that a batch with few
response tokens counts as much as one with many. Here a batch counts by the weight of
its loss, `ResponseLoss.weight_of`. The mean is kept up to date: before a batch of
weight w joins batches of weight s, what Keras has accumulated is multiplied by
s / (s + w), and the gradients of the batch by N w / (s + w). After N batches Keras
divides by N, and has their weighted mean. Clipping, weight decay, moving averages, loss
scales and the steps that learning rates are counted in stay those of Keras.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_pg2.typing import Tensor

_WEIGHT = "accumulated_weight"
_GRADIENTS = "_gradient_accumulator"
"""End of the names that Keras gives to the variables of accumulated gradients."""


def accumulation_steps(optimizer: Any) -> int | None:
    """Return the number of batches of an update; None if gradients are not kept."""
    return getattr(_accumulating(optimizer), "gradient_accumulation_steps", None)


def add_weight(optimizer: Any) -> None:
    """Give an optimizer that accumulates a variable for the weight of its gradients.

    The variable is one of the optimizer's own: saved, restored and donated with them.
    """
    if accumulation_steps(optimizer) and _weight(optimizer) is None:
        _accumulating(optimizer).add_variable(
            shape=(), initializer="zeros", dtype="float32", name=_WEIGHT
        )


def check_accumulation(optimizer: Any) -> None:
    """Raise ValueError if an optimizer accumulates in a way that has no weights."""
    parts = getattr(_accumulating(optimizer), "optimizers", ())
    if any(part.gradient_accumulation_steps for part in parts):
        raise ValueError(
            "Expected a MultiOptimizer whose optimizers accumulate no gradients: each "
            "would count a batch with few response tokens as much as one with many. "
            "Received: gradient_accumulation_steps in one of them. Train with larger "
            "batches, or with one optimizer."
        )


class WeightedUpdates:
    """An optimizer that accumulates, as a training step of one batch is to use it.

    It has the methods of the optimizer.

    Args:
        optimizer: An optimizer that `add_weight` was called with.
        weight: float32 scalar >= 0, the weight of the batch.
    """

    def __init__(self, optimizer: Any, weight: Tensor) -> None:
        self._optimizer = optimizer
        self._batch_weight = weight

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def apply_gradients(self, pairs: Iterable[tuple[Tensor, keras.Variable]]) -> None:
        """As in `keras.optimizers.Optimizer`; TensorFlow's steps call it."""
        gradients, variables = zip(*pairs, strict=True)
        self.apply(gradients, variables)

    def apply(
        self, gradients: Sequence[Tensor], trainable_variables: Any = None
    ) -> None:
        """As in `keras.optimizers.Optimizer`; PyTorch's steps call it."""
        num_updates = self._optimizer.iterations
        self._optimizer.apply(self._weigh(gradients), trainable_variables)
        self._begin_anew_after(num_updates)

    def stateless_apply(
        self,
        optimizer_variables: Sequence[Tensor],
        gradients: Sequence[Tensor],
        trainable_variables: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As in `keras.optimizers.Optimizer`; JAX's steps call it."""
        own = self._optimizer.variables
        with keras.StatelessScope(zip(own, optimizer_variables, strict=True)) as scope:
            num_updates = self._optimizer.iterations
            gradients = self._weigh(gradients)
        trained, values = self._optimizer.stateless_apply(
            [scope.get_current_value(v) for v in own], gradients, trainable_variables
        )
        with keras.StatelessScope(zip(own, values, strict=True)) as scope:
            self._begin_anew_after(num_updates)
        return trained, [scope.get_current_value(v) for v in own]

    def _weigh(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Make what was accumulated and the gradients parts of one weighted mean."""
        weight = ops.cast(self._batch_weight, "float32")
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            # A batch that overflows is left out.
            is_finite = self._optimizer.check_finite(gradients)
            weight = ops.where(is_finite, weight, 0.0)
        kept = _weight(self._optimizer)
        before = ops.convert_to_tensor(kept)
        after = before + weight
        share = ops.where(after > 0, weight / ops.where(after > 0, after, 1.0), 0.0)
        for variable in self._optimizer.variables:
            if variable.name.endswith(_GRADIENTS):
                rest = ops.cast(1.0 - share, variable.dtype)
                variable.assign(ops.multiply(variable, rest))
        kept.assign(after)
        factor = accumulation_steps(self._optimizer) * share
        return [
            # By ops.multiply, which knows TensorFlow's sparse gradients.
            None if g is None else ops.multiply(g, ops.cast(factor, g.dtype))
            for g in gradients
        ]

    def _begin_anew_after(self, num_updates: Tensor) -> None:
        """Forget the weight if there was an update since."""
        kept = _weight(self._optimizer)
        is_updated = ops.not_equal(self._optimizer.iterations, num_updates)
        kept.assign(ops.where(is_updated, 0.0, ops.convert_to_tensor(kept)))


def _accumulating(optimizer: Any) -> Any:
    """Return the optimizer, or the one whose loss it scales."""
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if is_scaled else optimizer


def _weight(optimizer: Any) -> Any:
    return next((v for v in optimizer.variables if v.name == _WEIGHT), None)
