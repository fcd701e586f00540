""".npz files: the places of their arrays, and writing them block by block.

A .npz is a zip of .npy files, stored as they are unless `np.savez_compressed` wrote
it. NumPy would read an array as a whole; here one layer of a stack is read alone.
bfloat16 stands in them as raw bytes, two a number (`|V2`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from keras_pg2.conversion.tables.blocks import Block, BlockSource, as_bytes
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.outgoing import Outgoing
from keras_pg2.conversion.tables.weight_table import Part
from keras_pg2.typing import Advance

_BFLOAT16_IN_FILE = np.dtype("V2")


class NpzSource(BlockSource):
    """The arrays of a .npz by name.

    Raises:
        ValueError: when it is no .npz, or cut off, or holds Python objects.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._is_stored: dict[str, bool] = {}
        self._last: tuple[str, np.ndarray] | None = None
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    key = info.filename.removesuffix(".npy")
                    is_stored = info.compress_type == zipfile.ZIP_STORED
                    self._blocks[key] = _block(path, archive, info, is_stored)
                    self._is_stored[key] = is_stored
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise ValueError(
                f"Expected a whole .npz of plain arrays. Received: {path} "
                f"({path.stat().st_size} bytes): {error}. Download it again."
            ) from error

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        if self._is_stored[key]:
            return super().read(key, part)
        # All of a compressed array has to be read for a part of it: keep the last.
        if self._last is None or self._last[0] != key:
            with np.load(self.path, allow_pickle=False) as arrays:
                self._last = (key, arrays[key].view(self.dtype(key)))
        whole = self._last[1]
        return whole if part is None else part.take(whole)


def _block(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, is_stored: bool
) -> Block:
    with archive.open(info) as file:
        major, _ = npy_format.read_magic(file)
        read = (
            npy_format.read_array_header_1_0
            if major == 1
            else npy_format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read(file)
        header_bytes = file.tell()
    if dtype.hasobject or (is_fortran and len(shape) > 1):
        raise ValueError(f"{info.filename} holds objects, or is stored by columns")
    if is_stored:
        # The local header repeats the name and may have more extra fields.
        with path.open("rb") as raw:
            raw.seek(info.header_offset + 26)
            lengths = np.frombuffer(raw.read(4), "<u2")
        start = info.header_offset + 30 + int(lengths.sum()) + header_bytes
    else:
        start = 0
    if dtype == _BFLOAT16_IN_FILE:
        dtype = DTYPES["bfloat16"]
    block = Block(path=path, offset=start, shape=shape, dtype=dtype)
    if block.num_bytes + header_bytes != info.file_size:
        raise ValueError(f"{info.filename} is shorter than its shape {shape}")
    return block


def write_npz(path: Path, tensors: Sequence[Outgoing], advance: Advance) -> None:
    """Writes arrays as `np.savez` does, in their order and block by block."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for tensor in tensors:
            with archive.open(f"{tensor.key}.npy", "w", force_zip64=True) as file:
                file.write(_header(tensor))
                for block in tensor.blocks():
                    file.write(as_bytes(block))
                    advance(block.nbytes)


def _header(tensor: Outgoing) -> bytes:
    is_bfloat16 = tensor.dtype == DTYPES["bfloat16"]
    dtype = _BFLOAT16_IN_FILE if is_bfloat16 else tensor.dtype
    header = {
        "descr": npy_format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": tensor.shape,
    }
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
