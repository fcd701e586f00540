"""What differs between backends when a loop over tokens is compiled.

Shapes decide what is compiled, so lengths are rounded up to buckets: a prompt
or an answer of another length within a bucket compiles nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any

SMALLEST_BUCKET = 16


def bucket_length(length: int) -> int:
    """The smallest bucket (16, 32, 64, ...) that holds `length` tokens."""
    bucket = SMALLEST_BUCKET
    while bucket < length:
        bucket *= 2
    return bucket


def while_loop(
    condition: Callable[..., Tensor],
    body: Callable[..., tuple],
    state: tuple,
) -> tuple:
    """`while condition(*state): state = body(*state)`, on any backend.

    The state may be nested. PyTorch runs the loop in Python; JAX and TensorFlow
    trace it.
    """
    if keras.config.backend() == "torch":
        while condition(*state):
            state = body(*state)
        return state
    return ops.while_loop(condition, body, state)


def compile_function(
    function: Callable[..., Any], model: keras.Model
) -> Callable[..., Any]:
    """Compiles a function of arrays that reads the variables of `model`.

    Args:
        function: takes and returns nested tensors; changes no variable.
        model: its variables become inputs of the compiled function, so that a
            later change of weights is seen without a new compilation.

    Returns:
        The function, compiled (JAX and TensorFlow: once for each set of input
        shapes) or free of gradients (PyTorch).
    """
    return _COMPILERS[keras.config.backend()](function, model)


def _compile_jax(function: Callable, model: keras.Model) -> Callable:
    import jax

    @jax.jit
    def stateless(values: list, arguments: tuple) -> Any:
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*arguments)

    def compiled(*arguments: Any) -> Any:
        values = [variable.value for variable in model.variables]
        return stateless(values, arguments)

    return compiled


def _compile_tensorflow(function: Callable, model: keras.Model) -> Callable:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _compile_torch(function: Callable, model: keras.Model) -> Callable:
    import torch

    def compiled(*arguments: Any) -> Any:
        with torch.no_grad():
            return function(*keras.tree.map_structure(ops.convert_to_tensor, arguments))

    return compiled


_COMPILERS = {
    "jax": _compile_jax,
    "tensorflow": _compile_tensorflow,
    "torch": _compile_torch,
}
