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

MAX_NAME = 16
_MAGIC = 0x0A534253  # "SBS\n"
_ALIGN = 256
_END_ALIGN = 1 << 16
_HEADER = struct.Struct("<IIQ")
_ENTRY_BYTES = 16


class ByteRange(NamedTuple):
    """Offset and size of a blob in bytes."""

    offset: int
    num_bytes: int


def read_directory(path: Path) -> dict[str, ByteRange]:
    """Read the ranges of all blobs by name.

    Raises:
        ValueError: when the file is no blob store, or cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if size < 2 * _HEADER.size or struct.unpack("<I", header[:4])[0] != _MAGIC:
            raise ValueError(
                f"Expected a .sbs file of gemma.cpp. Received: {path} ({size} bytes), "
                "which does not begin as one. Download it again."
            )
        _, count, file_bytes = _HEADER.unpack(header)
        start = _HEADER.size
        if count == 0:  # Version 2.
            file.seek(size - _HEADER.size)
            magic, count, file_bytes = _HEADER.unpack(file.read(_HEADER.size))
            start = size - _HEADER.size - 2 * _ENTRY_BYTES * count
            if magic != _MAGIC:
                count = 0
        if count == 0 or file_bytes != size or start < 0:
            raise ValueError(
                f"Expected a whole .sbs file. Received: {path} ({size} bytes), which "
                "is cut off or damaged. Download it again."
            )
        file.seek(start)
        names = [file.read(_ENTRY_BYTES).rstrip(b"\0").decode() for _ in range(count)]
        entry = struct.Struct("<QQ")
        ranges = [ByteRange(*entry.unpack(file.read(entry.size))) for _ in range(count)]
    if any(r.offset + r.num_bytes > size for r in ranges):
        raise ValueError(
            f"Expected all blobs inside the {size} bytes of {path}. Received a "
            "directory that points outside. Download it again."
        )
    return dict(zip(names, ranges))


def read_blob(path: Path, blob: ByteRange) -> bytes:
    """Read the bytes of a blob."""
    with path.open("rb") as file:
        file.seek(blob.offset)
        return file.read(blob.num_bytes)


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
