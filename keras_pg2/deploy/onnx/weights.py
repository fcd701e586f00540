"""The files that hold the weights of an ONNX graph, each of a size a browser can load.

transformers.js loads `<graph>.onnx_data`, then `<graph>.onnx_data_1` and so on, each
into one array of bytes, which browsers bound; the graph says of each weight in which
file it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

FILE_BYTES = 2_000_000_000
"""At most in a file, but for one weight that is larger by itself."""
ALIGNMENT = 4096
"""Alignment in bytes of weights in a file, so that they can be mapped into memory."""


class WeightLocation(NamedTuple):
    """Where a weight is stored, in the words of ONNX's `external_data`.

    Attributes:
        location: the name of the file.
        offset: in bytes.
        length: in bytes.
    """

    location: str
    offset: int
    length: int


class WeightFiles:
    """Files that are filled one after another; closed at the end of `with`.

    Args:
        path: of the first file; the others have `_1`, `_2`, ... behind its name.
        most_bytes: of a file.

    Attributes:
        paths: of the files until now; there is always one.
    """

    def __init__(self, path: Path, most_bytes: int = FILE_BYTES) -> None:
        self.paths = [path]
        self._most_bytes = most_bytes
        self._file: BinaryIO = path.open("wb")

    def write(self, blocks: Iterable[memoryview], num_bytes: int) -> WeightLocation:
        """Writes a weight.

        Args:
            blocks: its bytes, some at a time.
            num_bytes: of all blocks together.
        """
        offset = self._file.tell() + -self._file.tell() % ALIGNMENT
        if offset and offset + num_bytes > self._most_bytes:
            offset = 0
            self._file.close()
            first = self.paths[0]
            self.paths.append(first.with_name(f"{first.name}_{len(self.paths)}"))
            self._file = self.paths[-1].open("wb")
        self._file.write(bytes(offset - self._file.tell()))
        for block in blocks:
            self._file.write(block)
        return WeightLocation(self.paths[-1].name, offset, num_bytes)

    def __enter__(self) -> WeightFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
