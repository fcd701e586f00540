"""Gradients of a function of variables, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def gradients_of(
    function: Callable[[], Any],
    variables: list[keras.Variable],
    by_xla: bool = False,
) -> tuple[float, list[np.ndarray]]:
    """Return the scalar value of `function()` and its gradients; no gradient is zeros.

    Args:
        function: reads the variables.
        variables: what the gradients are of.
        by_xla: whether what TensorFlow compiles is the question. Otherwise it runs
            eagerly, which takes a tenth of the time for one call.
    """
    backend = keras.config.backend()
    run = {"jax": _on_jax, "torch": _on_torch, "tensorflow": _on_tensorflow}[backend]
    if backend == "tensorflow" and by_xla:
        run = _by_xla
    value, gradients = run(function, variables)
    return float(value), [
        np.zeros(variable.shape, "float32")
        if gradient is None
        else keras.ops.convert_to_numpy(gradient)
        for variable, gradient in zip(variables, gradients, strict=True)
    ]


def jax_loss(function: Callable[[], Any], variables: list[keras.Variable]) -> Callable:
    """`function` of the values of the variables."""

    def loss(values: list) -> Any:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function()

    return loss


def _on_jax(function: Callable, variables: list) -> tuple:
    import jax

    run = jax.jit(jax.value_and_grad(jax_loss(function, variables)))
    return run([variable.value for variable in variables])


def _on_tensorflow(function: Callable, variables: list) -> tuple:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
    return value, [
        tf.convert_to_tensor(gradient) if gradient is not None else None
        for gradient in tape.gradient(value, [each.value for each in variables])
    ]


def _by_xla(function: Callable, variables: list) -> tuple:
    import tensorflow as tf

    # As arguments of the function Keras' variables would be made into tensors.
    return tf.function(lambda: _on_tensorflow(function, variables), jit_compile=True)()


def _on_torch(function: Callable, variables: list) -> tuple:
    import torch

    value = function()
    values = [variable.value for variable in variables]
    return value.detach(), torch.autograd.grad(value, values, allow_unused=True)


def kept_for_backward(function: Callable[[], Any], variables: list) -> int:
    """Bytes that forward hands to backward, the variables among them; not on XLA of
    TensorFlow, which does not tell."""
    return _KEPT[keras.config.backend()](function, variables)


def _kept_on_jax(function: Callable, variables: list) -> int:
    import jax

    values = [variable.value for variable in variables]
    run = jax_loss(function, variables)
    backward = jax.eval_shape(lambda values: jax.vjp(run, values)[1], values)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def _kept_on_torch(function: Callable, variables: list) -> int:
    import torch

    sizes = {}

    def keep(tensor: Any) -> Any:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = function()
    del value
    return sum(sizes.values())


_KEPT = {"jax": _kept_on_jax, "torch": _kept_on_torch}
