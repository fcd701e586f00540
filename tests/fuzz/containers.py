"""Changes of the structure of containers: safetensors, npz, HDF5, SentencePiece, PNG.

Checksums and lengths are made to fit where a reader would stop at them otherwise.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from functools import cache
from random import Random
from typing import Any

import h5py
import numpy as np
from sentencepiece import sentencepiece_model_pb2

from tests.fuzz.mutations import (
    INTEGERS,
    LARGE,
    TEXTS,
    change_bytes,
    change_json,
)

_MODEL: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]


def change_safetensors(rng: Random, content: bytes) -> bytes:
    """The header as JSON, its length, or any bytes."""
    if rng.random() < 0.4:
        return change_bytes(rng, content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    keys = [key for key in header if key != "__metadata__"]
    first, second = rng.choice(keys), rng.choice(keys)
    one, other = header[first], header[second]
    change = rng.randrange(8)
    if change == 0:
        one["data_offsets"], other["data_offsets"] = (
            other["data_offsets"],
            one["data_offsets"],
        )
    elif change == 1:
        one["data_offsets"] = list(other["data_offsets"])
    elif change == 2:
        shift = rng.choice((-8, -4, -1, 1, 4, 8))
        one["data_offsets"] = [at + shift for at in one["data_offsets"]]
    elif change == 3:
        kinds = ("F32", "F16", "BF16", "F64", "I32", "U8", "I8", "BOOL", "F8_E4M3", "X")
        one["dtype"] = rng.choice(kinds)
    elif change == 4:
        one["shape"] = rng.choice(
            (one["shape"][::-1], [*one["shape"], 1], [], [-1], [0], [2**63, 0])
        )
    elif change == 5:
        del header[first]
    elif change == 6:
        data += rng.randbytes(rng.choice((1, 4, 64)))
    changed = json.dumps(header).encode()
    if change == 7:
        changed = change_json(rng, changed)
    if rng.random() < 0.7:
        changed += b" " * (-len(changed) % 8)
    size = len(changed) + rng.choice((0, 0, 0, 0, 0, 0, 0, 1, -1, 8, 2**40))
    return (size % 2**64).to_bytes(8, "little") + changed + data


def change_npz(rng: Random, content: bytes) -> bytes:
    """The members of a zip of arrays, their headers and numbers, or any bytes."""
    if rng.random() < 0.4:
        return change_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(i.filename, archive.read(i)) for i in archive.infolist()]
    at = rng.randrange(len(members))
    name, array = members[at]
    change = rng.randrange(8)
    if change == 0:
        members.append((name, members[rng.randrange(len(members))][1]))
    elif change == 1:
        del members[at]
    elif change == 2:
        renamed = name.removeprefix("params/")
        members[at] = (rng.choice((renamed, *TEXTS, name.upper())), array)
    elif change == 3:
        members[at] = (name, _bomb())
    elif change == 4:
        dtypes = ("int8", "bool", "<f8", ">f4", "c8", "O", "U3", "<M8[s]", "i4,f4")
        members[at] = (name, _npy(np.zeros((2, 3), rng.choice(dtypes))))
    elif change == 5:
        members[at] = (name, array[: rng.randrange(len(array) + 1)])
    else:
        head = min(len(array), 128)
        members[at] = (name, _change_npy_header(rng, array[:head]) + array[head:])
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    if change == 3:
        kind = zipfile.ZIP_DEFLATED
    return _zip(members, kind)


def _zip(members: list[tuple[str, bytes]], kind: int) -> bytes:
    """Members by hand, as `zipfile` warns of doubled names and refuses some."""
    body, directory = b"", b""
    for name, content in members:
        raw = name.encode("utf-8", "surrogatepass")[:60000]
        packed = content
        if kind == zipfile.ZIP_DEFLATED:
            packer = zlib.compressobj(1, zlib.DEFLATED, -15)
            packed = packer.compress(content) + packer.flush()
        common = struct.pack(
            "<HHHHHIIIHH",
            *(20, 0x800, kind, 0, 33, zlib.crc32(content), len(packed), len(content)),
            *(len(raw), 0),
        )
        place = len(body)
        body += b"PK\x03\x04" + common + raw + packed
        directory += b"PK\x01\x02\x14\x03" + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, place) + raw
    count = len(members)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


@cache
def _bomb() -> bytes:
    """An array of 300 MB of zeros, of which little is left when it is packed."""
    return _npy(np.zeros(1, np.float32)).replace(b"(1,)", b"(75000000,)") + bytes(
        300_000_000
    )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def _change_npy_header(rng: Random, header: bytes) -> bytes:
    pairs = (
        (b"<f4", rng.choice((b"<f8", b"<i4", b">f4", b"|O ", b"<c8", b"|V4", b"|S4"))),
        (b"False", b"True "),
        (b"'shape': (", b"'shape': (%d, " % rng.choice((*INTEGERS, *LARGE))),
        (b"\x93NUMPY\x01", b"\x93NUMPY" + bytes([rng.randrange(5)])),
        (b"'descr'", rng.choice((b"'desc' ", b'"descr"', b"open() "))),
        (b"}", b"(" * rng.choice((1, 20))),
    )
    old, new = rng.choice(pairs)
    changed = header.replace(old, new, 1)
    return (changed + b" " * len(header))[: len(header)]


def change_hdf5(rng: Random, content: bytes) -> bytes:
    """The objects in an HDF5 file, or any bytes."""
    if rng.random() < 0.5:
        return change_bytes(rng, content)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: (
                names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
        _change_dataset(rng, file, names)
    return buffer.getvalue()


def _change_dataset(rng: Random, file: h5py.File, names: list[str]) -> None:
    name = rng.choice(names)
    value = file[name][()]
    change = rng.randrange(12)
    if change == 0:
        del file[name]
        return
    if change == 1:
        dtypes = ("bfloat16", "float16", "complex64", "object", 7, "\x1b")
        file[name].attrs["dtype"] = rng.choice(dtypes)
        return
    if change == 2:
        file.move(name, name + rng.choice(("x", "_y", "\x1b[2J")))
        return
    parent = file[name].parent
    del file[name]
    short = name.rpartition("/")[2]
    if not value.shape and change in (6, 7, 8):
        change = 4  # A single number has no parts.
    if change == 3:
        parent[short] = h5py.ExternalLink("../secret.h5", "/a")
    elif change == 4:
        parent[short] = h5py.SoftLink(rng.choice((f"/{name}", "/nowhere", "/")))
    elif change == 5:
        parent.create_dataset(
            short, value.shape, value.dtype, external=[("../secret", 0, 10**9)]
        )
    elif change == 6:
        layout = h5py.VirtualLayout(value.shape, value.dtype)
        layout[...] = h5py.VirtualSource("../secret.h5", "a", value.shape)
        parent.create_virtual_dataset(short, layout)
    elif change == 7:
        huge = tuple(10**6 for _ in value.shape)
        parent.create_dataset(short, huge, value.dtype, chunks=True)
    elif change == 8:
        parent.create_dataset(short, data=value, compression="gzip", chunks=True)
    elif change == 9:
        parent.create_dataset(short, value.shape, value.dtype)
    elif change == 10:
        kinds = ("complex64", "int32", "bool", "S3", ">f4", "f8")
        parent.create_dataset(short, data=value.astype(rng.choice(kinds)))
    else:
        parent[short] = np.dtype("i4")  # A named type in the place of numbers.


def change_sentencepiece(rng: Random, content: bytes) -> bytes:
    """Pieces and settings of a SentencePiece model, or any bytes."""
    if rng.random() < 0.5:
        return change_bytes(rng, content)
    model = _MODEL.FromString(content)
    piece = model.pieces[rng.randrange(len(model.pieces))]
    change = rng.randrange(9)
    if change == 0:
        model.pieces.remove(piece)
    elif change == 1:
        model.pieces.add(piece=piece.piece, score=piece.score, type=piece.type)
    elif change == 2:
        piece.type = rng.choice((1, 2, 3, 4, 5, 6))
    elif change == 3:
        piece.score = rng.choice((float("nan"), float("inf"), -1e38, 0.0))
    elif change == 4:
        text = rng.choice(TEXTS)
        piece.piece = text.encode("utf-8", "replace").decode()
    elif change == 5:
        model.trainer_spec.model_type = rng.choice((1, 3, 4))
    elif change == 6:
        model.normalizer_spec.precompiled_charsmap = rng.randbytes(40)
    elif change == 7:
        for name in ("unk_id", "bos_id", "eos_id", "pad_id"):
            setattr(model.trainer_spec, name, rng.choice((-1, 0, 1, 7, 2**31 - 1)))
    else:
        model.normalizer_spec.add_dummy_prefix = True
    return model.SerializeToString()


def change_png(rng: Random, content: bytes) -> bytes:
    """The chunks of a PNG file with checksums that fit, or any bytes."""
    if rng.random() < 0.5 or not content.startswith(b"\x89PNG"):
        return change_bytes(rng, content)
    chunks, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), chunks[place])
    elif data:
        chunks[place] = (kind, change_bytes(rng, data))
    parts = [
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
