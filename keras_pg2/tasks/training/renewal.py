"""Fresh optimizers for models of which something else trains than before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

NOT_KNOWN = "?"
"""No name of an adapter: the optimizer has not trained since it was compiled."""

COMPILED_ATTRIBUTES = ("sampler", "run_eagerly", "jit_compile", "steps_per_execution")
"""What `compile` sets and a user may set anew."""


class Compilation:
    """What `compile` was given, to compile again; an object that Keras does not track.

    Attributes:
        arguments: all but the optimizer, whose state would take memory.
        adapter: the adapter that the optimizer trains; None without one.
    """

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.adapter: str | None = NOT_KNOWN


def is_built_for_others(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    is_same_adapter: bool,
) -> bool:
    """Return whether an optimizer has state, and of something else.

    Args:
        optimizer: of a compiled model.
        variables: that are to be trained.
        is_same_adapter: whether these are of the adapter that it trained.
    """
    if not optimizer.built:
        return False
    # Keras has no public name for the variables that an optimizer was built for.
    built_for = optimizer._trainable_variables  # noqa: SLF001
    is_same = [id(each) for each in built_for] == [id(each) for each in variables]
    return not (is_same and is_same_adapter)


def fresh_copy(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an optimizer of the same class and settings without state.

    Raises:
        ValueError: if its configuration does not make one.
    """
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected a call of `compile` after a change of what trains. Received: "
            f"other trainable variables than those the {type(optimizer).__name__} was "
            "built for, and no way to make another one of its configuration. Call "
            "`compile` with a new optimizer."
        ) from error
