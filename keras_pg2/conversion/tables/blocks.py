"""Arrays in files and in memory: where they start, and how they are laid out.

Files are not mapped into memory, since mapped pages count as memory of the
process for as long as the file is open.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part, TensorSource

# Of 32 to 128 rows, 64 was fastest: 2.6 GB/s for 16-bit numbers on one core, ten
# times NumPy's own copy of a transposed matrix.
_STRIP = 64


class Block(NamedTuple):
    """A tensor in a file, row by row, little-endian.

    Attributes:
        path: the file.
        offset: Index of its first byte.
        shape: Shape of the tensor.
        dtype: of its numbers.
    """

    path: Path
    offset: int
    shape: Shape
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, part: Part | None = None) -> np.ndarray:
        """The tensor, or a part of it; of parts by integers only their bytes.

        Raises:
            OSError: when the file ends before the tensor does.
        """
        if part is None:
            return _read(self.path, self.offset, self.shape, self.dtype)
        index = [i for i in part.index if isinstance(i, int)]
        if part.view is not None or len(index) < len(part.index):
            return part.take(_read(self.path, self.offset, self.shape, self.dtype))
        shape = self.shape[len(part.index) :]
        axes = self.shape[: len(part.index)]
        number = int(np.ravel_multi_index(index, axes))
        num_bytes = math.prod(shape) * self.dtype.itemsize
        return _read(self.path, self.offset + number * num_bytes, shape, self.dtype)


def _read(path: Path, offset: int, shape: Shape, dtype: np.dtype) -> np.ndarray:
    array = np.empty(shape, dtype)
    view = as_bytes(array)
    # Touched here, new memory comes in large pages; the kernel would fill it by small
    # ones, at half the speed.
    np.frombuffer(view, np.uint8)[:: mmap.PAGESIZE] = 0
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise OSError(
                    f"Expected {len(view)} bytes at {offset} of {path}, but it ends "
                    f"after {done} of them. Download or copy it again."
                )
            done += count
    return array


class BlockSource:
    """Tensors that are blocks of files, by name; none until a subclass adds some."""

    def __init__(self) -> None:
        self._blocks: dict[str, Block] = {}

    def keys(self) -> Iterable[str]:
        return self._blocks.keys()

    def shape(self, key: str) -> Shape:
        return self._blocks[key].shape

    def dtype(self, key: str) -> np.dtype:
        return self._blocks[key].dtype

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        return self._blocks[key].read(part)


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
