"""Activation checkpointing: blocks that are computed again in backward.

A transformer block keeps some twenty arrays of its tokens for backward. Checkpointed,
it keeps its input alone and is computed a second time when its gradients are due:
about a third more arithmetic for a small part of the memory (Chen et al. 2016,
arXiv 1604.06174).

Attention's logits and the insides of an activation function are as cheap to compute
again as they are large; they are not kept where a compiler can do without.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_pg2.modeling.cpu import is_used
from keras_pg2.modeling.cpu.scheduling import recompute
from keras_pg2.typing import Tensor


def checkpoint(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, whose inner arrays are not kept for backward.

    Gradients reach the inputs and the variables that `function` reads; tensors that it
    closes over must not want any. Without gradients it is `function(*inputs)`.
    """
    if keras.config.backend() == "jax" and is_used():
        return recompute(function, *inputs)

    def run(*inputs: Tensor) -> Tensor:
        return function(*inputs)

    return keras.remat(run)(*inputs)


def recompute_if_cheap(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`checkpoint` where it costs next to nothing, for pieces of a block.

    A compiler fuses the second computation into what needs it. PyTorch keeps few
    arrays of such pieces, and TensorFlow's compiler undoes `checkpoint` of them.
    """
    if keras.config.backend() == "jax":
        return checkpoint(function, *inputs)
    return function(*inputs)
