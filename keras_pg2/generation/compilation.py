"""What differs between backends when a loop over tokens is compiled.

Shapes decide what is compiled, so lengths are rounded up to buckets: a prompt
or an answer of another length within a bucket compiles nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import keras
import platformdirs
from keras import ops

from keras_pg2.generation.recording.recording import forget_recordings
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.cpu import is_used
from keras_pg2.start.garbage_collection import paused_collection
from keras_pg2.typing import Tensor

SHORT_TEXTS = (8, 16)
SHORT_ANSWER = 16
TEXT_STEP = 64


def bucket_length(length: int) -> int:
    """The smallest of 16, 32, 64, 128, ... that holds `length` new tokens."""
    return max(SHORT_ANSWER, 1 << (length - 1).bit_length())


def bucket_text(length: int, batch_size: int) -> int:
    """The slots of a prompt: 8 or 16 for one short prompt, else a multiple of 64.

    Beside the 256 or more tokens of a picture 64 are little; a single short question
    is what people wait for.
    """
    for short in SHORT_TEXTS:
        if batch_size == 1 and length <= short:
            return short
    return -(-length // TEXT_STEP) * TEXT_STEP


def bucket_rows(batch_size: int) -> int:
    """The rows of a batch: 1, 2, 4, 8, then a multiple of 8."""
    if batch_size <= 8:
        return 1 << (batch_size - 1).bit_length()
    return -(-batch_size // 8) * 8


def while_loop(
    condition: Callable[..., Tensor], body: Callable[..., tuple], state: tuple
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


FEW_TOKENS = 512
"""Of all prompts of a call, pictures included; see `_quick_to_load`."""


def compile_function(
    function: Callable[..., Any],
    model: keras.Model,
    num_used_up: int = 0,
    is_small: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of arrays that reads the variables of `model`.

    Args:
        function: takes and returns nested tensors (None where there is none);
            changes no variable.
        model: its variables become inputs of the compiled function, so that a
            later change of weights is seen without a new compilation.
        num_used_up: so many arguments, the first ones, are not read again by the
            caller; their memory may become that of the result.
        is_small: whether calls have few tokens, so that a process may start sooner.

    Returns:
        The function, compiled (JAX and TensorFlow: once for each set of input
        shapes) or free of gradients (PyTorch).
    """
    if keras.config.backend() == "jax":
        return _compile_jax(function, model, num_used_up, is_small)
    if keras.config.backend() == "tensorflow":
        return _compile_tensorflow(function)
    return _compile_torch(function)


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
        self._variables: tuple[_Identity, ...] = ()

    @property
    def backbone(self) -> PaliGemma2Backbone:
        """The network that they run."""
        return self._model.backbone

    def get(
        self,
        function: Callable[..., Any],
        *settings: Any,
        num_used_up: int = 0,
        num_tokens: int | None = None,
    ) -> Callable[..., Any]:
        """`function(backbone, *settings, ...)`, compiled as `compile_function` does.

        Args:
            function: takes the backbone, the settings, and arrays.
            *settings: what it is compiled for; other ones make another function.
            num_used_up: see `compile_function`.
            num_tokens: of all prompts of a call, pictures included, where known.
        """
        variables = tuple(map(_identity, self.backbone.variables))
        if variables != self._variables:
            self.clear()
            self._variables = variables
        is_small = num_tokens is not None and num_tokens <= FEW_TOKENS
        key = (function, settings, is_small)
        if key not in self._functions:
            bound = partial(function, self.backbone, *settings)
            self._functions[key] = compile_function(
                bound, self._model, num_used_up, is_small
            )
        return self._functions[key]

    def clear(self) -> None:
        """Forgets all, as a number that was compiled in (LoRA's scale) has changed."""
        self._functions.clear()
        forget_recordings(self.backbone)


_Identity = int | tuple[int, int]


def _identity(variable: keras.Variable) -> _Identity:
    """Another one where what is compiled or recorded with a variable is of no use."""
    if keras.config.backend() == "torch":
        # `module.to(...)` gives a parameter other memory, which recordings refer to.
        return id(variable), variable.value.data_ptr()
    return id(variable)


def _compile_jax(
    function: Callable, model: keras.Model, num_used_up: int, is_small: bool
) -> Callable:
    import jax

    use_disk_cache()
    options = _quick_to_load() if is_small and is_used() else None

    def stateless(values: list, used_up: tuple, others: tuple) -> Any:
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(*used_up, *others)

    @cache
    def jitted(is_outermost: bool) -> Callable:
        # Within another traced function JAX takes no options.
        own = options if is_outermost else None
        return jax.jit(stateless, donate_argnums=1, compiler_options=own)

    @paused_collection()  # The first call traces.
    def compiled(*arguments: Any) -> Any:
        values = [variable.value for variable in model.variables]
        leaves = jax.tree.leaves((values, arguments))
        run = jitted(not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves))
        return run(values, arguments[:num_used_up], arguments[num_used_up:])

    return compiled


@cache
def _quick_to_load() -> dict[str, str] | None:
    """XLA's options for a short call on a CPU; None where it does not know them.

    XLA sets up each product of YNNPACK, its library for CPUs, when it first runs, 2 ms
    each: a fifth of what a process waits for its first token where the compiled code is
    on disk. For one short prompt XLA's own products are as fast; for several rows, or
    a picture of 448 px, YNNPACK's are faster.
    """
    import jax

    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(ops.negative, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options


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


def _compile_tensorflow(function: Callable) -> Callable:
    import tensorflow as tf

    traced = tf.function(function, jit_compile=True, autograph=False)
    return paused_collection()(traced)


def _compile_torch(function: Callable) -> Callable:
    import torch

    def as_tensor(value: Tensor | None) -> Tensor | None:
        return None if value is None else ops.convert_to_tensor(value)

    def compiled(*arguments: Any) -> Any:
        with torch.inference_mode():
            return function(*keras.tree.map_structure(as_tensor, arguments))

    return compiled
