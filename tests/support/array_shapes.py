"""Shapes of all arrays that a function makes, on any backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras


def shapes_of(run: Callable[..., Any], *inputs: Any) -> list[tuple[int, ...]]:
    """Shapes of the arrays of `run(*inputs)`.

    On JAX those of its jaxpr, on TensorFlow of what XLA made of it, on PyTorch of the
    results of all operations, backward among them.
    """
    return _BACKENDS[keras.config.backend()](run, *inputs)


def _on_jax(run: Callable[..., Any], *inputs: Any) -> list[tuple[int, ...]]:
    import jax

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            for variable in (*equation.invars, *equation.outvars):
                yield getattr(variable.aval, "shape", ())
            for parameter in keras.tree.flatten(list(equation.params.values())):
                inner = getattr(parameter, "jaxpr", parameter)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)

    return list(walk(jax.make_jaxpr(run)(*inputs).jaxpr))


def _on_tensorflow(run: Callable[..., Any], *inputs: Any) -> list[tuple[int, ...]]:
    import tensorflow as tf

    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    compiled = tf.function(run, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(*inputs)(stage="optimized_hlo")
    found = re.findall(r"\b(?:pred|[fsu]\d+|bf16)\[([\d,]+)\]", text)
    return [tuple(map(int, shape.split(","))) for shape in found]


def _on_torch(run: Callable[..., Any], *inputs: Any) -> list[tuple[int, ...]]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    shapes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            shapes.extend(
                tuple(x.shape)
                for x in torch.utils._pytree.tree_leaves(result)
                if isinstance(x, torch.Tensor)
            )
            return result

    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    with Watch():
        run(*inputs)
    return shapes


_BACKENDS = {"jax": _on_jax, "tensorflow": _on_tensorflow, "torch": _on_torch}
