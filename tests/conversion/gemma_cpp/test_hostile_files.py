"""Files of strangers: what gemma.cpp aborts on is refused, and more by name."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import write_model
from keras_pg2.conversion.gemma_cpp.blob_store import read_directory
from keras_pg2.files.opened_files import OpenedFile
from tests.support.blob_files import MAGIC, Blobs, entry, read_blobs, write_blobs
from tests.support.tiny_models import random_task

THREE = {"first": b"1" * 300, "second": b"2" * 256, "third": b"3"}


def three(path: Path, version: int = 2) -> bytes:
    return write_blobs(path, THREE, version=version).read_bytes()


def moved(
    data: bytes, index: int, offset: int | None = None, num_bytes: int | None = None
) -> bytes:
    """A file of version 2 whose directory says something else of a blob."""
    count = struct.unpack_from("<I", data, len(data) - 12)[0]
    start = len(data) - 16 - 16 * count + 16 * index
    known = struct.unpack_from("<QQ", data, start)
    given = [offset, num_bytes]
    range_ = [known[i] if given[i] is None else given[i] for i in range(2)]
    return data[:start] + struct.pack("<QQ", *range_) + data[start + 16 :]


def ended(data: bytes, **changes: int) -> bytes:
    """A file of version 2 with another trailer."""
    magic, count, size = struct.unpack("<IIQ", data[-16:])
    fields = {"magic": magic, "count": count, "size": size, **changes}
    return data[:-16] + struct.pack("<IIQ", *fields.values())


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    start = data.rindex(old.ljust(16, b"\0"))
    return data[:start] + new.ljust(16, b"\0") + data[start + 16 :]


REFUSED: dict[str, Callable[[bytes], bytes]] = {
    "no byte": lambda data: b"",
    "ten bytes": lambda data: data[:10],
    "only a head": lambda data: data[:256],
    "another magic": lambda data: b"SBS2" + data[4:],
    "another magic at the end": lambda data: ended(data, magic=MAGIC + 1),
    "no blobs": lambda data: ended(data, count=0),
    "more blobs than fit": lambda data: ended(data, count=2**31),
    "more blobs than any model has": lambda data: ended(
        data + bytes(65536 * 10), count=20_000, size=len(data) + 655360
    ),
    "another size": lambda data: ended(data, size=len(data) + 1),
    "cut off": lambda data: data[:-256],
    "something behind": lambda data: data + bytes(256),
    "two blobs of a name": lambda data: renamed(data, b"second", b"first"),
    "a name beyond ASCII": lambda data: renamed(data, b"second", b"\xff\xfe"),
    "overlapping": lambda data: moved(data, 1, offset=512),
    "the same bytes": lambda data: moved(data, 1, offset=256, num_bytes=300),
    "out of order": lambda data: moved(moved(data, 1, 1024), 2, 768),
    "misaligned": lambda data: moved(data, 0, offset=260, num_bytes=296),
    "a hole": lambda data: moved(data, 2, offset=1280),
    "in the head": lambda data: moved(data, 0, offset=0),
    "in the directory": lambda data: moved(data, 2, num_bytes=len(data) - 1040),
    "behind the end": lambda data: moved(data, 2, num_bytes=2**40),
    "an end that wraps round": lambda data: moved(data, 2, num_bytes=2**64 - 512),
    "an offset behind the end": lambda data: moved(data, 2, offset=2**63),
    "no bytes": lambda data: moved(data, 2, num_bytes=0),
    "longer than its place": lambda data: moved(data, 0, num_bytes=513),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_directory_that_is_wrong_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.sbs"
    path.write_bytes(REFUSED[kind](three(path)))
    with pytest.raises(ValueError, match=str(path)):
        read_directory(OpenedFile(path))


@pytest.mark.parametrize("version", [1, 2])
def test_the_whole_one_is_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.sbs"
    three(path, version)
    file = OpenedFile(path)
    found = {name: file.read(*r) for name, r in read_directory(file).items()}
    assert found == THREE


@pytest.mark.parametrize("change", ["count", "range", "cut off"])
def test_a_wrong_directory_of_the_first_version_is_refused(
    change: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.sbs"
    data = three(path, 1)
    if change == "count":
        data = data[:4] + struct.pack("<I", 5000) + data[8:]
    elif change == "range":
        data = data[:64] + struct.pack("<Q", 512) + data[72:]
    else:
        data = data[:-256]
    path.write_bytes(data)
    with pytest.raises(ValueError, match=str(path)):
        read_directory(OpenedFile(path))


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    path = tmp_path_factory.mktemp("sbs") / "model.sbs"
    with pytest.warns(UserWarning, match="Expected a vocabulary of a multiple of 64"):
        write_model(random_task(num_layers=2), path, "sbs", "float32")
    return read_blobs(path)


def with_scale(blobs: Blobs, scale: float) -> Blobs:
    name = "att_w_1"
    old = entry(name, (24, 32))
    assert blobs["toc"].count(old) == 1
    return {**blobs, "toc": blobs["toc"].replace(old, entry(name, (24, 32), 1, scale))}


@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_scale_that_is_none_is_refused(
    scale: float, blobs: Blobs, tmp_path: Path
) -> None:
    path = write_blobs(tmp_path / "a.sbs", with_scale(blobs, scale))
    with pytest.raises(ValueError, match=f"scale above 0 of att_w_1 in {path}"):
        open_checkpoint(path)


def test_a_scale_is_multiplied(blobs: Blobs, tmp_path: Path) -> None:
    plain = open_checkpoint(write_blobs(tmp_path / "a.sbs", blobs))
    scaled = open_checkpoint(write_blobs(tmp_path / "b.sbs", with_scale(blobs, 2.5)))
    name = "text_decoder/block_1/attention/output_dense/kernel"
    np.testing.assert_array_equal(
        dict(scaled.variables())[name], dict(plain.variables())[name] * np.float32(2.5)
    )


Change = Callable[[Blobs], Blobs]


def toc(*more: tuple[str, tuple[int, int]], without: str = "") -> Change:
    def change(blobs: Blobs) -> Blobs:
        table = blobs["toc"]
        if without:
            old = {"c_embedding": (1600, 24), "qkv1_w_0": (32, 24)}[without]
            table = table.replace(entry(without, old), b"")
        return {**blobs, "toc": table + b"".join(entry(*e) for e in more)}

    return change


def replaced(name: str, data: bytes) -> Change:
    return lambda blobs: {**blobs, name: data}


WRONG: dict[str, tuple[Change, str]] = {
    "a matrix twice": (toc(("att_w_1", (24, 32))), "att_w_1 twice"),
    "a joined matrix beside its parts": (
        lambda blobs: toc(("qkv_ein_0", (64, 24)))(
            {**blobs, "qkv_ein_0": bytes(64 * 24 * 4)}
        ),
        "qkv1_w_0 twice",
    ),
    "a joined matrix of too few rows": (
        lambda blobs: toc(("qkv_ein_0", (16, 24)), without="qkv1_w_0")(
            {**blobs, "qkv_ein_0": bytes(16 * 24 * 4)}
        ),
        "qkv_ein_0 in .* of the rows",
    ),
    "a joined matrix of other heads": (
        lambda blobs: toc(("att_ein_0", (24, 32)))(
            {**blobs, "att_ein_0": bytes(24 * 8 * 4)}
        ),
        "bytes of att_ein_0",
    ),
    "a matrix of other bytes": (
        toc(("c_embedding", (1600, 25)), without="c_embedding"),
        "160000 bytes of c_embedding",
    ),
    "a matrix of another shape": (
        toc(("c_embedding", (24, 1600)), without="c_embedding"),
        "fit the network",
    ),
    "a matrix that is not there": (toc(("nothing", (4, 4))), "Received: none"),
    "a name of control characters": (
        toc(("post\0\x1b0", (4, 4))),
        r"bytes of post\\x00\\x1b0 in .*\.sbs, as",
    ),
    "a table that is cut off": (
        replaced("toc", b"\xff\xff\0\0"),
        r"table of contents of a \.sbs file in .*\.sbs: .* is cut off",
    ),
    "no table": (replaced("toc", b"\0"), "missing from the file"),
    "an endless table": (replaced("toc", bytes(10_000_004)), "at most 10,000,000"),
    "an endless configuration": (replaced("config", bytes(10**6 + 4)), "1,000,004"),
    "a vocabulary that is none": (replaced("tokenizer", b"pieces"), "SentencePiece"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_matrices_that_are_wrong_are_refused(
    kind: str, blobs: Blobs, tmp_path: Path
) -> None:
    change, message = WRONG[kind]
    path = write_blobs(tmp_path / "a.sbs", change(blobs))
    with pytest.raises(ValueError, match=message):
        open_checkpoint(path)


def test_a_replaced_file_is_read_on(blobs: Blobs, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_blobs(tmp_path / "a.sbs", blobs))
    expected = dict(checkpoint.variables())
    zeros = {
        n: b if n in ("config", "tokenizer", "toc") else bytes(len(b))
        for n, b in blobs.items()
    }
    write_blobs(tmp_path / "b.sbs", zeros).replace(tmp_path / "a.sbs")
    for path, value in checkpoint.variables():
        np.testing.assert_array_equal(value, expected[path])


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.sbs")
    with pytest.raises(OSError, match="Received: something else"):
        OpenedFile(tmp_path / "a.sbs")
