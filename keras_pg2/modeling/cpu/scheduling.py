"""Order of computation on a CPU, for its caches and for less memory.

XLA's CPU code computes what does not depend on each other in any order, and what is the
same only once, whatever memory that takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras
from keras import ops

from keras_pg2.modeling.cpu.choice import is_used
from keras_pg2.typing import Tensor

TOKENS_AT_A_TIME = 1280
"""Tokens that go through a layer at once; more do not stay in the CPU's caches."""

Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")


def begin_after(x: Tensor, *earlier: Tensor) -> Tensor:
    """Return `x`, on a CPU not before the last of `earlier` is computed.

    XLA's CPU code would have the logits of all blocks of queries in memory at a time.
    What takes 0 times a number of the block before cannot begin sooner.

    Args:
        x: float[B, N, T, H].
        *earlier: float[B, N, T, H]; none leave `x` as it is.
    """
    if not earlier or keras.config.backend() == "torch" or not is_used(x):
        return x
    return x + 0.0 * earlier[-1][:, :, :1, :1]


def recompute(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Compute `function(*inputs)` as `jax.checkpoint`, which XLA undoes on a CPU.

    It finds there that both computations are the same and keeps the first one's arrays.
    Here the second one begins with the inputs plus 0 times the gradient that came: so
    it is another one, and cannot begin before that gradient is there.
    """
    import jax

    # The variables that the function reads become arguments.
    pure, variables = jax.closure_convert(function, *inputs)

    @jax.custom_vjp
    def run(arguments: tuple) -> Tensor:
        return pure(*arguments)

    def forward(arguments: tuple) -> tuple[Tensor, tuple]:
        return pure(*arguments), arguments

    def backward(arguments: tuple, gradient: Tensor) -> tuple[tuple]:
        # One number at most: a flat view would gather what devices share.
        zero = 0.0 * gradient[(slice(1),) * gradient.ndim].sum()
        own = tuple(x + zero.astype(x.dtype) for x in arguments[: len(inputs)])
        _, pull_back = jax.vjp(pure, *own, *arguments[len(inputs) :])
        return (pull_back(gradient),)

    run.defvjp(forward, backward)
    return run((*inputs, *variables))


def by_rows(
    function: Callable[[Inputs], Outputs], inputs: Inputs, tokens_per_row: int
) -> Outputs:
    """Compute `function(inputs)`, on a CPU a few rows of the batch after another.

    That way a prompt's layers take a fifth less time there, and less memory.

    Args:
        function: Treats each row alone, and takes and returns nested tensors.
        inputs: Nested tensors [B, ...]. B is 1, 2, 4 or a multiple of 8, or not known
            while a function is exported; then all rows are treated at once.
        tokens_per_row: Number of tokens a row is to the layers.

    Returns:
        Nested tensors [B, ...].
    """
    batch_size = keras.tree.flatten(inputs)[0].shape[0]
    group = 8
    while group > 1 and group * tokens_per_row > TOKENS_AT_A_TIME:
        group //= 2
    is_known = isinstance(batch_size, int)
    if not is_known or batch_size <= group or not is_used():
        return function(inputs)

    def split(tensor: Tensor) -> Tensor:
        return ops.reshape(tensor, (batch_size // group, group, *tensor.shape[1:]))

    def join(tensor: Tensor) -> Tensor:
        # What is made for a row may be several, as in a cache.
        return ops.reshape(tensor, (-1, *tensor.shape[2:]))

    results = ops.map(function, keras.tree.map_structure(split, inputs))
    return keras.tree.map_structure(join, results)
