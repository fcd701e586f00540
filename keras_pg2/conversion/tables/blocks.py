"""Arrays in files and in memory: where they start, and how they are laid out.

Files are not mapped into memory, since mapped pages count as memory of the
process for as long as the file is open.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.conversion.tables.number_types import as_weights, weight_type
from keras_pg2.conversion.tables.transforms import Shape, is_possible
from keras_pg2.conversion.tables.weight_table import Part, TensorSource
from keras_pg2.files.opened_files import OpenedFile

# Of 32 to 128 rows, 64 was fastest: 2.6 GB/s for 16-bit numbers on one core, ten
# times NumPy's own copy of a transposed matrix.
_STRIP = 64


class Block(NamedTuple):
    """A tensor in a file, row by row, little-endian.

    Attributes:
        file: the file.
        offset: Index of its first byte.
        shape: Shape of the tensor.
        dtype: of its numbers.
    """

    file: OpenedFile
    offset: int
    shape: Shape
    dtype: np.dtype

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Index of the first byte after it."""
        return self.offset + self.num_bytes

    def piece(self, part: Part | None) -> Block:
        """Return the smallest block around a part: of parts by integers, their own."""
        if part is None or not part.is_in_one_piece:
            return self
        index = [i for i in part.index if isinstance(i, int)]
        block = self._replace(shape=self.shape[len(index) :])
        number = int(np.ravel_multi_index(index, self.shape[: len(index)]))
        return block._replace(offset=self.offset + number * block.num_bytes)

    def read(self) -> np.ndarray:
        """Return the tensor.

        Raises:
            OSError: if the file ends before the tensor does, or has changed.
        """
        array = np.empty(self.shape, self.dtype)
        view = as_bytes(array)
        # Touched here, new memory comes in large pages; the kernel would fill it by
        # small ones, at half the speed.
        np.frombuffer(view, np.uint8)[:: mmap.PAGESIZE] = 0
        self.file.read_into(view, self.offset)
        return array


def check_shape(key: str, shape: Shape) -> None:
    """Raise ValueError if no array can have the shape."""
    if not is_possible(shape):
        raise ValueError(f"{key!r} has a shape that no array can have")


def check_block(key: str, block: Block) -> None:
    """Check that a tensor can be, and that all of it is in its file.

    Raises:
        ValueError: if its shape is invalid, or it begins or ends outside of the file.
    """
    check_shape(key, block.shape)
    if not 0 <= block.offset <= block.end <= block.file.size:
        raise ValueError(
            f"{key!r} is at bytes {block.offset} to {block.end} of {block.file.size}"
        )


def check_apart(ranges: Mapping[str, tuple[int, int]]) -> None:
    """Check that no two pieces of a file have bytes in common.

    Args:
        ranges: Indices of the first byte and of the one after the last, by name.

    Raises:
        ValueError: naming the two that overlap.
    """
    placed = sorted((r, name) for name, r in ranges.items() if r[0] < r[1])
    for ((_, end), name), ((start, _), other) in pairwise(placed):
        if start < end:
            raise ValueError(f"{name!r} and {other!r} overlap")


class BlockSource:
    """Tensors that are blocks of files, by name; none until a subclass adds some."""

    def __init__(self) -> None:
        self._blocks: dict[str, Block] = {}

    def keys(self) -> Iterable[str]:
        return self._blocks.keys()

    def shape(self, key: str) -> Shape:
        return self._blocks[key].shape

    def dtype(self, key: str) -> np.dtype:
        return weight_type(self._blocks[key].dtype)

    def stored_type(self, key: str) -> str:
        """Name of the type of a tensor's numbers in the file."""
        return str(self._blocks[key].dtype)

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        block = self._blocks[key]
        piece = block.piece(part)
        array = self._read_piece(key, piece)
        if part is not None and piece is block:
            array = part.take(array)
        return as_weights(array)

    def _read_piece(self, key: str, piece: Block) -> np.ndarray:
        """Return the numbers of a tensor, or of a piece of it, as they are stored."""
        return piece.read()


class RenamedSource:
    """A source whose tensors go by other names than in their file.

    Args:
        source: Source of the file.
        names: Name of each tensor in the file, by its name in the table.
    """

    def __init__(self, source: TensorSource, names: Mapping[str, str]) -> None:
        self._source = source
        self.names = names

    def keys(self) -> Iterable[str]:
        return self.names.keys()

    def shape(self, key: str) -> Shape:
        return self._source.shape(self.names[key])

    def dtype(self, key: str) -> np.dtype:
        return self._source.dtype(self.names[key])

    def stored_type(self, key: str) -> str:
        return self._source.stored_type(self.names[key])

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        return self._source.read(self.names[key], part)


def as_bytes(array: np.ndarray) -> memoryview:
    """Return the memory of an array of any type that is laid out row by row."""
    return array.reshape(-1).view(np.uint8).data


def in_memory_order(array: np.ndarray) -> np.ndarray:
    """Return the array laid out row by row; itself if it is so already."""
    if array.flags.c_contiguous:
        return array
    if array.ndim != 2 or not array.T.flags.c_contiguous:
        return np.ascontiguousarray(array)
    result = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[1], _STRIP):
        columns = slice(start, start + _STRIP)
        result[:, columns] = array[:, columns]
    return result
