"""The tensors of a file to be written, each read when its turn comes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.conversion.tables.blocks import in_memory_order
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Row, check_keys, read_variable


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
    writer = _Writer(
        checkpoint=checkpoint,
        incoming={row.ours: row for row in checkpoint.rows},
        rows=rows,
        dtype=DTYPES[dtype] if dtype else None,
    )
    return [writer.tensor(key) for key in dict.fromkeys(row.theirs for row in rows)]


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


@dataclass
class _Writer:
    checkpoint: Checkpoint
    incoming: dict[str, Row]
    rows: Sequence[Row]
    dtype: np.dtype | None

    def __post_init__(self) -> None:
        self.shapes = variable_shapes(**self.checkpoint.architecture)
        self.by_key: dict[str, list[Row]] = {}
        for row in self.rows:
            self.by_key.setdefault(row.theirs, []).append(row)
        written = sorted(row.ours for row in self.rows)
        if written != sorted(self.incoming) or written != sorted(self.shapes):
            differing = set(written) ^ set(self.incoming) | set(written) ^ set(
                self.shapes
            )
            raise ValueError(
                "Expected each variable of the checkpoint to be written once. Received "
                f"tables that differ in {', '.join(sorted(differing)[:8])}."
            )

    def tensor(self, key: str) -> Outgoing:
        first = self.by_key[key][0]
        shape = first.stored_shape(self.shapes[first.ours])
        source = self.incoming[first.ours].theirs
        dtype = self.dtype or self.checkpoint.source.dtype(source)
        return Outgoing(
            key=key, shape=shape, dtype=dtype, blocks=lambda: self._blocks(key, dtype)
        )

    def _blocks(self, key: str, dtype: np.dtype) -> Iterator[np.ndarray]:
        rows = self.by_key[key]
        part = rows[0].part
        if part is None:
            yield from self._values(rows[0], dtype)
        elif part.view is None:
            for row in sorted(rows, key=_index):
                yield from self._values(row, dtype)
        else:
            whole = np.empty(part.view, dtype)
            for row in rows:
                (value,) = self._values(row, dtype)
                whole[row.part.index] = value  # type: ignore[union-attr]
            yield whole.reshape(part.shape)

    def _values(self, row: Row, dtype: np.dtype) -> Iterator[np.ndarray]:
        variable = read_variable(self.checkpoint.source, self.incoming[row.ours])
        values = row.transform.inverse(cast(variable, dtype, row.theirs))
        for value in values if isinstance(values, tuple) else (values,):
            yield in_memory_order(value)


def _index(row: Row) -> tuple[int | slice, ...]:
    return row.part.index if row.part else ()
