"""A call as one program on JAX, where each operation by itself is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def as_one_program(function: Callable[..., Any], layer: keras.Layer) -> Callable:
    """Return a function of arrays that JAX compiles as a whole.

    A small network has some hundred operations of as many shapes, which take five times
    as long to compile one by one. Other backends run them as they stand.

    Args:
        function: Reads the weights of the layer, and changes none.
        layer: Its weights are arguments of the program, so that it is kept on disk
            for others of its sizes.
    """
    if keras.config.backend() != "jax":
        return function
    import jax

    variables = layer.variables

    @jax.jit
    def run(values: list, *arguments: Any) -> Any:
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*arguments)

    return lambda *arguments: run([each.value for each in variables], *arguments)


def apply(layer: keras.Layer, inputs: Any, **options: Any) -> Any:
    """Return what a layer gives for inputs, which JAX computes as one program."""
    return as_one_program(lambda given: layer(given, **options), layer)(inputs)
