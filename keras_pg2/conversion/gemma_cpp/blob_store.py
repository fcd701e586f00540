"""gemma.cpp's single file: named blobs and their directory.

Little-endian (gemma.cpp `io/blob_store.cc`). Version 2: a head of 256 bytes, the blobs
one after another, each padded to 256, padding, the directory, and a trailer of 16
bytes {magic, number of blobs, size of the file}, all a multiple of 64 KiB. Version 1
has trailer and directory in front. The directory is all names, of 16 bytes, and then
all ranges {offset, bytes}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from keras_pg2.files.opened_files import OpenedFile

MAX_NAME = 16
_MAX_BLOBS = 10_000
"""Bound of a file; models have a thousand."""
_MAGIC = 0x0A534253  # "SBS\n"
_ALIGN = 256
_END_ALIGN = 1 << 16
_HEADER = struct.Struct("<IIQ")
_ENTRY_BYTES = 16


class ByteRange(NamedTuple):
    """Offset and size of a blob in bytes."""

    offset: int
    num_bytes: int


def read_directory(file: OpenedFile) -> dict[str, ByteRange]:
    """Read the ranges of all blobs by name.

    Raises:
        ValueError: when gemma.cpp would refuse the file: it is no blob store, or cut
            off, two blobs have one name, or they do not stand one after another.
    """
    header = file.read(0, min(_HEADER.size, file.size))
    if file.size < 2 * _HEADER.size or struct.unpack("<I", header[:4])[0] != _MAGIC:
        raise ValueError(
            f"Expected a .sbs file of gemma.cpp. Received: {file.path} ({file.size} "
            "bytes), which does not begin as one. Download it again."
        )
    _, count, file_bytes = _HEADER.unpack(header)
    start, first, end = _HEADER.size, _HEADER.size + 2 * _ENTRY_BYTES * count, file.size
    if count == 0:  # Version 2.
        trailer = file.size - _HEADER.size
        magic, count, file_bytes = _HEADER.unpack(file.read(trailer, _HEADER.size))
        start, first = trailer - 2 * _ENTRY_BYTES * count, _ALIGN
        end = start
        if magic != _MAGIC:
            count = 0
    directory_bytes = 2 * _ENTRY_BYTES * count
    is_inside = 0 <= start <= file.size - directory_bytes
    if not (0 < count <= _MAX_BLOBS and file_bytes == file.size and is_inside):
        raise ValueError(
            f"Expected a whole .sbs file. Received: {file.path} ({file.size} bytes), "
            "which is cut off or damaged. Download it again."
        )
    try:
        directory = file.read(start, directory_bytes)
        return _parse_directory(directory, count, _aligned(first), end)
    except ValueError as error:
        raise ValueError(
            f"Expected the blobs of {file.path} one after another. Received a "
            f"directory in which {error}. Download it again."
        ) from error


def _parse_directory(
    directory: bytes, count: int, first: int, end: int
) -> dict[str, ByteRange]:
    """Return the ranges of blobs, which fill a file from `first` on, up to `end`."""
    keys = [
        directory[i : i + _ENTRY_BYTES]
        for i in range(0, _ENTRY_BYTES * count, _ENTRY_BYTES)
    ]
    ranges = struct.iter_unpack("<QQ", directory[_ENTRY_BYTES * count :])
    found: dict[str, ByteRange] = {}
    expected = first
    for key, (offset, num_bytes) in zip(keys, ranges):
        name = key.rstrip(b"\0").decode("ascii")
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        if offset != expected or not 0 < num_bytes <= end - offset:
            raise ValueError(
                f"{name!r} has {num_bytes} bytes at {offset}, not at {expected} and "
                f"before {end}"
            )
        found[name] = ByteRange(offset, num_bytes)
        expected = _aligned(offset + num_bytes)
    return found


def _aligned(offset: int) -> int:
    return offset + -offset % _ALIGN


class BlobWriter:
    """Writes blobs one after another, and the directory when it is closed.

    Args:
        file: opened for writing, at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ranges: dict[str, ByteRange] = {}
        file.write(_HEADER.pack(_MAGIC, 0, _END_ALIGN).ljust(_ALIGN, b"\0"))

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Writes a blob.

        Raises:
            ValueError: when the name has more than 16 characters or is not new.
        """
        if len(name) > MAX_NAME or name in self._ranges:
            raise ValueError(
                f"Expected names of at most {MAX_NAME} characters, each once. "
                f"Received: {name!r}."
            )
        offset, size = self._file.tell(), 0
        for chunk in chunks:
            self._file.write(chunk)
            size += len(chunk)
        self._ranges[name] = ByteRange(offset, size)
        self._file.write(bytes(-size % _ALIGN))

    def close(self) -> None:
        """Writes directory and trailer."""
        count = len(self._ranges)
        directory = b"".join(name.encode().ljust(16, b"\0") for name in self._ranges)
        directory += b"".join(struct.pack("<QQ", *p) for p in self._ranges.values())
        end = self._file.tell()
        # As gemma.cpp counts: trailer and directory are padded like a blob.
        needed = _HEADER.size + len(directory)
        total = end + needed + -needed % _ALIGN
        total += -total % _END_ALIGN
        self._file.write(bytes(total - end - needed))
        self._file.write(directory + _HEADER.pack(_MAGIC, count, total))


@contextmanager
def writing_blobs(path: Path) -> Iterator[BlobWriter]:
    """A new file to write blobs to."""
    with path.open("wb") as file:
        writer = BlobWriter(file)
        yield writer
        writer.close()
