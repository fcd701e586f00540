"""Numbers in a file: where they start, their shape and type; read by plain reads.

Files are not mapped into memory, since mapped pages count as memory of the
process for as long as the file is open.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.conversion.memory_order import as_bytes
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part


class Block(NamedTuple):
    """A tensor in a file, row by row, little-endian.

    Attributes:
        path: the file.
        offset: of its first byte.
        shape: of the tensor.
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
        """The tensor, or a part of it; of parts by whole numbers only their bytes.

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
        place = int(np.ravel_multi_index(index, axes))
        num_bytes = math.prod(shape) * self.dtype.itemsize
        return _read(self.path, self.offset + place * num_bytes, shape, self.dtype)


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
