"""The tensors of a file to be written, each read when its turn comes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.conversion.tables.blocks import in_memory_order
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import (
    Row,
    TensorSource,
    check_keys,
    read_variable,
    rows_by_key,
)


class Outgoing(NamedTuple):
    """A tensor to be written.

    Attributes:
        key: its name in the file.
        shape: of the whole tensor.
        dtype: of its numbers.
        blocks: reads it: arrays of `dtype`, laid out row by row, that together,
            one after another, are the tensor.
    """

    key: str
    shape: Shape
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """The whole tensor."""
        flat = [block.reshape(-1) for block in self.blocks()]
        joined = flat[0] if len(flat) == 1 else np.concatenate(flat)
        return joined.reshape(self.shape)


def outgoing_tensors(
    checkpoint: Checkpoint, rows: Sequence[Row], dtype: str | None = None
) -> list[Outgoing]:
    """The tensors of a table's keys, in the order of the table, from a checkpoint.

    Args:
        checkpoint: where the values come from.
        rows: the table of the file to be written.
        dtype: Name of the type of all tensors; None keeps each tensor's own.

    Raises:
        ValueError: when the table does not have every variable of the checkpoint
            once, or does not fill its tensors.
    """
    check_keys(rows, {row.theirs for row in rows}, {})
    shapes = variable_shapes(**checkpoint.architecture)
    incoming = {row.ours: row for row in checkpoint.rows}
    written = sorted(row.ours for row in rows)
    if written != sorted(incoming) or written != sorted(shapes):
        differing = set(written) ^ set(incoming) | set(written) ^ set(shapes)
        raise ValueError(
            "Expected each variable of the checkpoint to be written once. Received "
            f"tables that differ in {', '.join(sorted(differing)[:8])}."
        )
    tensors = []
    for key, own in rows_by_key(rows).items():
        shape = own[0].stored_shape(shapes[own[0].ours])
        read_from = [incoming[row.ours] for row in own]
        number_type = (
            DTYPES[dtype] if dtype else checkpoint.source.dtype(read_from[0].theirs)
        )
        read = partial(_blocks, checkpoint.source, read_from, own, number_type)
        tensors.append(Outgoing(key, shape, number_type, read))
    return tensors


def _blocks(
    source: TensorSource, incoming: list[Row], outgoing: list[Row], dtype: np.dtype
) -> Iterator[np.ndarray]:
    """Read the blocks of a tensor, whose variables stand in one row of each list."""
    pairs, part = list(zip(incoming, outgoing)), outgoing[0].part
    if part is None:
        yield from _values(source, *pairs[0], dtype)
    elif part.view is None:
        pairs.sort(key=lambda pair: pair[1].part.index)  # type: ignore[union-attr]
        for pair in pairs:
            yield from _values(source, *pair, dtype)
    else:
        whole = np.empty(part.view, dtype)
        for pair in pairs:
            (value,) = _values(source, *pair, dtype)
            whole[pair[1].part.index] = value  # type: ignore[union-attr]
        yield whole.reshape(part.shape)


def _values(
    source: TensorSource, incoming: Row, outgoing: Row, dtype: np.dtype
) -> Iterator[np.ndarray]:
    variable = read_variable(source, incoming)
    values = outgoing.transform.inverse(cast(variable, dtype, outgoing.theirs))
    for value in values if isinstance(values, tuple) else (values,):
        yield in_memory_order(value)


def main_dtype(tensors: Sequence[Outgoing]) -> str:
    """Name of the type a configuration states: that of the largest tensor."""
    return str(max(tensors, key=lambda tensor: tensor.num_bytes).dtype)


def in_shards(tensors: Sequence[Outgoing], max_bytes: int) -> list[list[Outgoing]]:
    """Deals tensors to files in their order; a larger one has a file of its own."""
    shards: list[list[Outgoing]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.num_bytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.num_bytes
    return shards
