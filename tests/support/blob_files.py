"""gemma.cpp's files, read and written by hand with `struct` from their description."""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = 0x0A534253
Blobs = dict[str, bytes]


def read_blobs(path: Path) -> Blobs:
    data = path.read_bytes()
    assert struct.unpack_from("<IIQ", data) == (MAGIC, 0, 65536)
    magic, count, size = struct.unpack_from("<IIQ", data, len(data) - 16)
    assert (magic, size, size % 65536) == (MAGIC, len(data), 0)
    start = len(data) - 16 - 32 * count
    blobs, end = {}, 256
    for i in range(count):
        name = data[start + 16 * i : start + 16 * (i + 1)].rstrip(b"\0").decode()
        offset, num_bytes = struct.unpack_from("<QQ", data, start + 16 * (count + i))
        assert offset == end
        end = (offset + num_bytes + 255) // 256 * 256
        blobs[name] = data[offset : offset + num_bytes]
    return blobs


def write_blobs(path: Path, blobs: Blobs, *, version: int = 2) -> Path:
    count = len(blobs)
    names = b"".join(name.encode().ljust(16, b"\0") for name in blobs)
    head = 256 if version == 2 else (16 + 32 * count + 255) // 256 * 256
    places, body, offset = b"", b"", head
    for data in blobs.values():
        places += struct.pack("<QQ", offset, len(data))
        padded = data + bytes(-len(data) % 256)
        body, offset = body + padded, offset + len(padded)
    directory = names + places
    if version == 1:
        start = struct.pack("<IIQ", MAGIC, count, offset) + directory
        path.write_bytes(start.ljust(head, b"\0") + body)
        return path
    total = (offset + (16 + 32 * count + 255) // 256 * 256 + 65535) // 65536 * 65536
    start = struct.pack("<IIQ", MAGIC, 0, 65536).ljust(256, b"\0")
    padding = bytes(total - offset - len(directory) - 16)
    end = directory + struct.pack("<IIQ", MAGIC, count, total)
    path.write_bytes(start + body + padding + end)
    return path


def contents(blobs: Blobs) -> dict[str, tuple[int, tuple[int, int], float]]:
    """Type, shape and scale of every matrix in the table of contents."""
    words = struct.unpack(f"<{len(blobs['toc']) // 4}I", blobs["toc"])
    found, i = {}, 0
    while i < len(words):
        length, name_words = words[i], words[i + 1]
        raw = struct.pack(f"<{name_words}I", *words[i + 2 : i + 2 + name_words])
        fields = words[i + 2 + name_words : i + 1 + length]
        kind, itemsize, count, rows, columns, scale, stride = fields
        assert count == rows * columns
        assert stride == columns
        scale = struct.unpack("<f", struct.pack("<I", scale))[0]
        name = raw.rstrip(b"\0").decode()
        assert len(blobs[name]) == count * itemsize
        found[name] = (kind, (rows, columns), scale)
        i += 1 + length
    return found


def entry(
    name: str, shape: tuple[int, int], kind: int = 1, scale: float = 1.0
) -> bytes:
    """A matrix in the table of contents."""
    raw = name.encode() + bytes(-len(name) % 4)
    words = struct.pack("<I", len(raw) // 4) + raw
    size = shape[0] * shape[1]
    words += struct.pack("<5If", kind, 4, size, *shape, scale)
    words += struct.pack("<I", shape[1])
    return struct.pack("<I", len(words) // 4) + words
