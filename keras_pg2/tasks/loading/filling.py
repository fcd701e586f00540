"""A backbone whose variables are filled from a checkpoint as they are made.

Made the usual way, every variable would first be given random numbers, and
memory and time would be spent on them. Keras makes variables inside a
`keras.StatelessScope` without values and asks each initializer for one when the
scope ends; here that initializer reads the variable's tensor. Keras has no public
name for the initializer of a variable that waits: `_initializer` is the one private
name used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from keras_pg2.conversion.keras.weight_files import INDEX_FILE, SINGLE_FILE
from keras_pg2.conversion.tables.blocks import in_memory_order
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.weight_table import read_variable
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.quantized_layers import with_float_policy
from keras_pg2.typing import DTypePolicy, Tensor

# One waits for the disk while the other checks and transposes.
_NUM_THREADS = 2


def build_backbone(
    checkpoint: Checkpoint,
    dtype: DTypePolicy = None,
    backbone_cls: type[PaliGemma2Backbone] = PaliGemma2Backbone,
    **kwargs: Any,
) -> PaliGemma2Backbone:
    """Build a backbone and fill it, one tensor after another.

    Args:
        checkpoint: Opened and checked checkpoint; opened without weights it makes a
            backbone of random weights.
        dtype: Dtype policy of the backbone, if it is quantized that of its floats;
            None for Keras' own, if it is quantized for that of the checkpoint.
        backbone_cls: Class to build.
        **kwargs: Other arguments of the class, such as `name`.

    Raises:
        ValueError: if a tensor holds NaN or infinity, or numbers too large for the
            policy's type.
        OSError: if a file cannot be read.
    """
    if checkpoint.policies is not None:
        return _build_quantized(checkpoint, dtype, backbone_cls, **kwargs)
    if not checkpoint.rows:
        return backbone_cls(**checkpoint.architecture, dtype=dtype, **kwargs)
    errors: list[Exception] = []
    with ThreadPoolExecutor(_NUM_THREADS) as threads, keras.StatelessScope():
        with _symbolic_only():
            backbone = backbone_cls(**checkpoint.architecture, dtype=dtype, **kwargs)
        # In the order of making, in which Keras asks: else much would be read ahead.
        variables = [
            variable
            for layer in (
                backbone.vision_encoder,
                backbone.vision_projection,
                backbone.text_decoder,
            )
            for variable in layer.variables
        ]
        values = _ValuesAhead(checkpoint, variables, threads)
        for variable in variables:
            variable._initializer = _initializer(variable, values, errors)  # noqa: SLF001
    if errors:
        raise errors[0]
    return backbone


def _build_quantized(
    checkpoint: Checkpoint,
    dtype: DTypePolicy,
    backbone_cls: type[PaliGemma2Backbone],
    **kwargs: Any,
) -> PaliGemma2Backbone:
    """Build layers that are quantized from the start; Keras fills them."""
    serialized = checkpoint.policies or {}
    policies = _deserialize(checkpoint, serialized)
    if dtype is not None and isinstance(policies, keras.dtype_policies.DTypePolicyMap):
        name = keras.dtype_policies.get(dtype).name
        policies = _deserialize(checkpoint, with_float_policy(serialized, name))
    try:
        backbone = backbone_cls(**checkpoint.architecture, dtype=policies, **kwargs)
    except ValueError as error:  # A path that is that of no layer, such as.
        raise _no_policy(checkpoint, error) from error
    index = checkpoint.path / INDEX_FILE
    file = index if index.is_file() else checkpoint.path / SINGLE_FILE
    backbone.load_weights(str(file))
    return backbone


def _deserialize(
    checkpoint: Checkpoint, serialized: Mapping[str, Any]
) -> keras.DTypePolicy:
    """Return what Keras makes of a policy, which is for it alone to judge."""
    try:
        policy = keras.dtype_policies.get(serialized)
    except Exception as error:  # It raises whatever comes.
        raise _no_policy(checkpoint, error) from error
    is_map = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    for found in (policy, *(policy.values() if is_map else ())):
        if not isinstance(found, keras.DTypePolicy):  # Another class of its own.
            raise _no_policy(checkpoint, type(found).__name__)
    return policy


def _no_policy(checkpoint: Checkpoint, reason: object) -> ValueError:
    file = checkpoint.path / "config.json"
    return ValueError(
        f"Expected config.dtype in {file} as dtype policies of Keras. Received: "
        f"{str(reason)[:300]}."
    )


class _ValuesAhead:
    """Reads the values of variables in threads, a few ahead of their use."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        variables: list[keras.Variable],
        threads: ThreadPoolExecutor,
    ) -> None:
        self._source = checkpoint.source
        self._rows = {row.ours: row for row in checkpoint.rows}
        self._waiting = deque(variables)
        self._threads = threads
        self._reading: dict[str, Future[np.ndarray]] = {}

    def take(self, variable: keras.Variable) -> np.ndarray:
        """The value of a variable, in its type, laid out as the backend takes it."""
        while self._waiting and (
            len(self._reading) < _NUM_THREADS or variable.path not in self._reading
        ):
            ahead = self._waiting.popleft()
            self._reading[ahead.path] = self._threads.submit(self._read, ahead)
        return self._reading.pop(variable.path).result()

    def _read(self, variable: keras.Variable) -> np.ndarray:
        row = self._rows[variable.path]
        value = read_variable(self._source, row)
        value = cast(value, DTYPES[variable.dtype], row.theirs)
        # A transposed tensor is the layout of torch.nn.Linear: no copy is needed.
        is_torch = keras.backend.backend() == "torch"
        return value if is_torch else in_memory_order(value)


def _initializer(
    variable: keras.Variable, values: _ValuesAhead, errors: list[Exception]
) -> Callable[..., Tensor]:
    def initialize(shape: tuple[int, ...], dtype: str) -> Tensor:
        # Raising here would leave Keras with half of its variables, which it would
        # try to fill when the next scope ends: the first error is kept for later.
        if not errors:
            try:
                return _to_backend(values.take(variable))
            except Exception as error:
                errors.append(error)
        return keras.ops.zeros(shape, dtype)

    return initialize


def _symbolic_only() -> AbstractContextManager[object]:
    """Where shapes are inferred from variables that have no values yet.

    JAX and TensorFlow trace the random numbers that stand in for them; PyTorch would
    draw them for every use, but not on the device that has no memory.
    """
    is_torch = keras.backend.backend() == "torch"
    return keras.device("meta") if is_torch else nullcontext()


def _to_backend(value: np.ndarray) -> Tensor:
    """The array as Keras takes it.

    Keras would give bfloat16 to PyTorch by way of float32, and have JAX copy an array
    twice, the second time while both others are still there.
    """
    if keras.backend.backend() == "jax":
        import jax

        # Else JAX would hold on to the array for some time.
        return jax.device_put(value, may_alias=False).block_until_ready()
    if keras.backend.backend() != "torch":
        return value
    import torch

    if value.dtype == DTYPES["bfloat16"]:
        return torch.from_numpy(value.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(value)
