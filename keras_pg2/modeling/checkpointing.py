"""Activation checkpointing: blocks that are computed again in backward.

A transformer block keeps some twenty arrays of its tokens for backward. Checkpointed,
it keeps its input alone and is computed a second time when its gradients are due:
about a third more arithmetic for a small part of the memory (Chen et al. 2016,
arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

Tensor = Any

PARTS = ("vision_encoder", "text_decoder")
"""Parts of a backbone whose blocks can be checkpointed."""


def checkpoint(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, whose inner arrays are not kept for backward.

    Gradients reach `x` and the variables that `function` reads; tensors that it closes
    over must not want any. Without gradients it is `function(x)`.
    """

    def run(x: Tensor) -> Tensor:
        return function(x)

    return keras.remat(run)(x)


def check_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Names of `PARTS`, in a tuple.

    Raises:
        ValueError: for a text instead of names, or another name.
    """
    names = () if isinstance(parts, str) else tuple(parts)
    if isinstance(parts, str) or not set(names) <= set(PARTS):
        raise ValueError(
            f"Expected checkpoint_activations as a tuple of names among {PARTS}, or () "
            f"for none. Received: {parts!r}."
        )
    return names
