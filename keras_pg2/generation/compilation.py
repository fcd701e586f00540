"""What differs between backends when a loop over tokens is compiled.

Shapes decide what is compiled, so lengths are rounded up to buckets: a prompt
or an answer of another length within a bucket compiles nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import platformdirs
from keras import ops

Tensor = Any

SHORT_TEXT = 16
TEXT_STEP = 64


def bucket_length(length: int) -> int:
    """The smallest of 16, 32, 64, 128, ... that holds `length` new tokens."""
    return max(SHORT_TEXT, 1 << (length - 1).bit_length())


def bucket_text(length: int, batch_size: int) -> int:
    """The slots of a prompt: 16 for one short prompt, else a multiple of 64.

    Beside the 256 or more tokens of a picture 64 are little; a single short question
    is what people wait for.
    """
    if batch_size == 1 and length <= SHORT_TEXT:
        return SHORT_TEXT
    return -(-length // TEXT_STEP) * TEXT_STEP


def bucket_rows(batch_size: int) -> int:
    """The rows of a batch: 1, 2, 4, 8, then a multiple of 8."""
    if batch_size <= 8:
        return 1 << (batch_size - 1).bit_length()
    return -(-batch_size // 8) * 8


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
    function: Callable[..., Any], model: keras.Model, num_used_up: int = 0
) -> Callable[..., Any]:
    """Compiles a function of arrays that reads the variables of `model`.

    Args:
        function: takes and returns nested tensors (None where there is none);
            changes no variable.
        model: its variables become inputs of the compiled function, so that a
            later change of weights is seen without a new compilation.
        num_used_up: so many arguments, the first ones, are not read again by the
            caller; their memory may become that of the result.

    Returns:
        The function, compiled (JAX and TensorFlow: once for each set of input
        shapes) or free of gradients (PyTorch).
    """
    return _COMPILERS[keras.config.backend()](function, model, num_used_up)


class CompiledFunctions:
    """The compiled functions of one model, each made when it is first asked for.

    They are made anew after `enable_lora` or `quantize`, as a compiled function of
    TensorFlow would go on with the variables it was traced with.

    Args:
        model: has the network as `backbone`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._functions: dict[tuple, Callable] = {}
        self._variables: tuple[int, ...] = ()

    def get(
        self, function: Callable[..., Any], *settings: Any, num_used_up: int = 0
    ) -> Callable[..., Any]:
        """`function(backbone, *settings, ...)`, compiled as `compile_function` does.

        Args:
            function: takes the backbone, the settings, and arrays.
            *settings: what it is compiled for; other ones make another function.
            num_used_up: see `compile_function`.
        """
        variables = tuple(id(variable) for variable in self._model.backbone.variables)
        if variables != self._variables:
            self._functions.clear()
            self._variables = variables
        key = (function, *settings)
        if key not in self._functions:
            bound = partial(function, self._model.backbone, *settings)
            self._functions[key] = compile_function(bound, self._model, num_used_up)
        return self._functions[key]


def _compile_jax(function: Callable, model: keras.Model, num_used_up: int) -> Callable:
    import jax

    use_disk_cache()

    @partial(jax.jit, donate_argnums=1)
    def stateless(values: list, used_up: tuple, kept: tuple) -> Any:
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*used_up, *kept)

    def compiled(*arguments: Any) -> Any:
        values = [variable.value for variable in model.variables]
        return stateless(values, arguments[:num_used_up], arguments[num_used_up:])

    return compiled


def use_disk_cache() -> None:
    """Lets JAX keep what it compiles in the user's cache folder.

    Where JAX has been told a folder (`JAX_COMPILATION_CACHE_DIR`) that one is used;
    `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    import jax

    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        folder = platformdirs.user_cache_path("keras_pg2") / "jax"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _compile_tensorflow(
    function: Callable, model: keras.Model, num_used_up: int
) -> Callable:
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _compile_torch(
    function: Callable, model: keras.Model, num_used_up: int
) -> Callable:
    import torch

    def as_tensor(value: Any) -> Any:
        return None if value is None else ops.convert_to_tensor(value)

    def compiled(*arguments: Any) -> Any:
        with torch.no_grad():
            return function(*keras.tree.map_structure(as_tensor, arguments))

    return compiled


_COMPILERS = {
    "jax": _compile_jax,
    "tensorflow": _compile_tensorflow,
    "torch": _compile_torch,
}
