""".npz files: the places of their arrays, and writing them block by block.

A .npz is a zip of .npy files, stored as they are unless `np.savez_compressed` wrote
it. NumPy would read an array as a whole; here one layer of a stack is read alone, and
the checksum of a stack is compared when all of its layers have been read.
bfloat16 stands in them as raw bytes, two a number (`|V2`).
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from keras_pg2.conversion.tables.blocks import (
    Block,
    BlockSource,
    as_bytes,
    check_apart,
    check_block,
    check_shape,
)
from keras_pg2.conversion.tables.checksums import Checksum
from keras_pg2.conversion.tables.number_types import DTYPES, as_weights
from keras_pg2.conversion.tables.outgoing import Outgoing
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part, shorten
from keras_pg2.files.opened_files import OpenedFile
from keras_pg2.files.unpacking import check_expansion
from keras_pg2.typing import Advance

_BFLOAT16_IN_FILE = np.dtype("V2")
_MAX_MEMBERS = 10_000
"""Arrays of a file; a model and the state of its optimizer have some two hundred."""
_LOCAL_HEADER_BYTES = 30
_LOCAL_SIGNATURE, _END_SIGNATURE = b"PK\3\4", b"PK\5\6"
"""What a zip begins with: a member, or the end of the directory where it is empty."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class NpzSource(BlockSource):
    """The arrays of a .npz by name.

    Args:
        path: The file.
        is_wanted: Whether an array of a name is to be read; of others the
            header alone is compared with the directory of the file.

    Attributes:
        others: Names of the arrays that are not wanted.

    Raises:
        OSError: when it is no file, or changes meanwhile.
        ValueError: when it is no .npz, or cut off, or holds Python objects; when its
            arrays overlap, two have one name, or unpacked they are much larger than
            the file.
    """

    def __init__(
        self, path: Path, is_wanted: Callable[[str], bool] = lambda key: True
    ) -> None:
        super().__init__()
        self.path = path
        self.others: list[str] = []
        self._file = OpenedFile(path)
        self._stored: dict[str, tuple[int, Checksum]] = {}
        self._packed: dict[str, zipfile.ZipInfo] = {}
        self._last: tuple[str, np.ndarray] | None = None
        with self._opened() as archive:
            starts = _content_starts(archive, self._file)
            for info in archive.infolist():
                key = _key(info)
                if is_wanted(key):
                    self._add(key, archive, info, starts[info.filename])
                else:
                    # As it is opened, zipfile compares its header with the directory.
                    archive.open(info).close()
                    self.others.append(key)
            sizes = {key: info.file_size for key, info in self._packed.items()}
            check_expansion(sizes, self._file.size)

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        if key in self._stored:
            return super().read(key, part)
        # All of a compressed array has to be read for a part of it: keep the last.
        last = self._last
        if last is None or last[0] != key:
            self._last = last = (key, self._unpack(key))
        return last[1] if part is None else part.take(last[1])

    def _read_piece(self, key: str, piece: Block) -> np.ndarray:
        array = piece.read()
        start, checksum = self._stored[key]
        if not checksum.add(piece.offset - start, as_bytes(array)):
            raise ValueError(
                f"Expected the checksum of {key} that {self.path} has. Received "
                "another: the file is damaged. Download it again."
            )
        return array

    def _unpack(self, key: str) -> np.ndarray:
        with self._opened() as archive, archive.open(self._packed[key]) as member:
            array = npy_format.read_array(member, allow_pickle=False)
        return as_weights(array.view(self._blocks[key].dtype))

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        """Open the archive; what is wrong in it becomes an error that names it."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
            self._file.check_in_place()
        except OSError:
            raise
        except Exception as error:  # Of a dozen kinds, by the damage.
            raise ValueError(
                f"Expected a whole .npz of plain arrays. Received: {self.path} "
                f"({self._file.size} bytes): {shorten(str(error))}. Download it again."
            ) from error

    def _add(
        self, key: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, start: int
    ) -> None:
        with archive.open(info) as member:
            shape, is_fortran, dtype = _read_npy_header(member)
            header_bytes = member.tell()
        if dtype.hasobject or (is_fortran and len(shape) > 1):
            raise ValueError(f"{key!r} holds objects, or is stored by columns")
        if dtype == _BFLOAT16_IN_FILE:
            dtype = DTYPES["bfloat16"]
        check_shape(key, shape)
        block = Block(self._file, start + header_bytes, shape, dtype)
        if block.num_bytes + header_bytes != info.file_size:
            raise ValueError(f"{key!r} is shorter or longer than its shape {shape}")
        self._blocks[key] = block
        if info.compress_type != zipfile.ZIP_STORED:
            self._packed[key] = info
            return
        check_block(key, block)
        checksum = Checksum(
            info.file_size, info.CRC, lambda i, n: self._file.read(start + i, n)
        )
        checksum.add(0, self._file.read(start, header_bytes))
        self._stored[key] = (start, checksum)


def _key(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _content_starts(archive: zipfile.ZipFile, file: OpenedFile) -> dict[str, int]:
    """Return where the content of each member of an archive begins, by its name.

    Raises:
        ValueError: if the file does not begin as `numpy.load` expects, members are too
            many, overlap, are encrypted or packed by a method that NumPy does not
            write, two have one name, or a stored one has two sizes.
    """
    members = archive.infolist()
    if file.read(0, 4) not in (_LOCAL_SIGNATURE, _END_SIGNATURE):
        raise ValueError("something stands before its first array")
    if len(members) > _MAX_MEMBERS:
        raise ValueError(f"it has {len(members)} arrays")
    name, count = Counter(map(_key, members)).most_common(1)[0] if members else ("", 0)
    if count > 1:
        raise ValueError(f"there are two arrays of the name {name!r}")
    starts, ranges = {}, {"the directory": (archive.start_dir, file.size)}
    for info in members:
        if not 0 <= info.header_offset <= file.size - _LOCAL_HEADER_BYTES:
            raise ValueError(f"{_key(info)!r} is outside of the file")
        # The local header repeats the name and may have more extra fields.
        header = file.read(info.header_offset, _LOCAL_HEADER_BYTES)
        lengths = np.frombuffer(header, "<u2", count=2, offset=26)
        start = info.header_offset + _LOCAL_HEADER_BYTES + int(lengths.sum(dtype=int))
        is_stored = info.compress_type == zipfile.ZIP_STORED
        if info.compress_type not in _METHODS:
            raise ValueError(
                f"{_key(info)!r} is packed by another method than np.savez_compressed "
                "has"
            )
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{_key(info)!r} is encrypted")
        if is_stored and info.compress_size != info.file_size:
            raise ValueError(f"{_key(info)!r} is stored, but of two sizes")
        starts[info.filename] = start
        ranges[info.filename] = (info.header_offset, start + info.compress_size)
    check_apart(ranges)
    return starts


def _read_npy_header(member: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    major, _ = npy_format.read_magic(member)
    if major == 1:
        return npy_format.read_array_header_1_0(member)  # type: ignore[no-any-return]
    if major > 3:
        raise ValueError(f"an array is of the unknown version {major}")
    return npy_format.read_array_header_2_0(member)  # type: ignore[no-any-return]


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
