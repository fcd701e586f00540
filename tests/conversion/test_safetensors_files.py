"""Files of strangers: what safetensors refuses is refused, the rest has its numbers."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load_file

from keras_pg2.conversion import safetensors_files
from keras_pg2.conversion.safetensors_files import SafetensorsSource, read_header

TWELVE = struct.pack("<3f", 1.5, -2.0, 3.25)


def tensor(first: int, last: int, *shape: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}


def packed(header: Any, content: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def one(**changes: Any) -> bytes:
    """A tensor of three numbers, changed."""
    return packed({"a": {**tensor(0, 12, 3), **changes}}, TWELVE)


def two(first: tuple[int, int], second: tuple[int, int], content: int = 8) -> bytes:
    header = {"a": tensor(*first, 1), "b": tensor(*second, 1)}
    return packed(header, TWELVE[:content])


def doubled(first: str, second: str) -> bytes:
    return packed(f"{{{first},{second}}}".encode(), TWELVE)


def entry(name: str, **changes: Any) -> str:
    return json.dumps({name: {**tensor(0, 12, 3), **changes}})[1:-1]


REFUSED = {
    "an axis that NumPy cannot have": packed({"a": tensor(0, 0, 0, 2**63)}),
    "no byte": b"",
    "seven bytes": b"\2\0\0\0\0\0\0",
    "only a length": struct.pack("<Q", 2),
    "header of no bytes": packed(b""),
    "length beyond the file": packed({}, length=1000),
    "length beyond any file": packed({}, length=2**63),
    "length of all ones": packed({}, length=2**64 - 1),
    "header of Latin-1": packed(b'{"\xe9": 1}'),
    "header of UTF-16": packed('{"a": {}}'.encode("utf-16")),
    "byte order mark": packed(b"\xef\xbb\xbf{}"),
    "no JSON": packed(b"weights!"),
    "half of a JSON": packed(b'{"a": {"dtype": '),
    "two JSON values": packed(b"{}{}"),
    "comma at the end": packed(b'{"a": 1,}'),
    "NaN": one(shape=[float("nan")]),
    "list": packed([]),
    "number": packed(7),
    "text": packed("{}"),
    "null": packed(None),
    "lists in lists": packed(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "lone surrogate": packed(b'{"\\ud800": {"dtype": "F32"}}'),
    "metadata of a number": packed({"__metadata__": 1}),
    "metadata of a list": packed({"__metadata__": ["pt"]}),
    "metadata of a text": packed({"__metadata__": "pt"}),
    "number in the metadata": packed({"__metadata__": {"format": 1}}),
    "object in the metadata": packed({"__metadata__": {"a": {}}}),
    "null in the metadata": packed({"__metadata__": {"a": None}}),
    "tensor of null": packed({"a": None}),
    "tensor of a short list": packed({"a": ["F32", [3]]}, TWELVE),
    "no type": packed({"a": {"shape": [3], "data_offsets": [0, 12]}}, TWELVE),
    "no shape": packed({"a": {"dtype": "F32", "data_offsets": [0, 12]}}, TWELVE),
    "no range": packed({"a": {"dtype": "F32", "shape": [3]}}, TWELVE),
    "unknown type": one(dtype="F33"),
    "type in small letters": one(dtype="f32"),
    "type of a number": one(dtype=32),
    "shape of a text": one(shape="3"),
    "shape of a number": one(shape=3),
    "shape of null": one(shape=None),
    "negative size": one(shape=[-3]),
    "two negative sizes": one(shape=[-1, -3]),
    "size of a fraction": one(shape=[3.0]),
    "size of a text": one(shape=["3"]),
    "size of true": one(shape=[True, 3]),
    "one offset": one(data_offsets=[12]),
    "three offsets": one(data_offsets=[0, 12, 12]),
    "offset of a text": one(data_offsets=["0", "12"]),
    "offset of a fraction": one(data_offsets=[0.0, 12.0]),
    "offset of null": one(data_offsets=[None, 12]),
    "negative offset": one(data_offsets=[-12, 0]),
    "range into the header": one(data_offsets=[-4, 8]),
    "offset of 2 ** 64": one(data_offsets=[2**64, 2**64 + 12]),
    "range backwards": one(data_offsets=[12, 0]),
    "too few bytes for the shape": one(shape=[4]),
    "too many bytes for the shape": one(shape=[2]),
    "sizes whose product overflows": one(shape=[2**63, 2, 3]),
    "sizes that wrap round to 12 bytes": one(shape=[2**62 + 3]),
    "bytes that overflow": one(shape=[2**61], dtype="F64"),
    "hole at the beginning": one(data_offsets=[4, 12], shape=[2]),
    "hole between": two((0, 4), (8, 12), 12),
    "tail": packed({"a": tensor(0, 8, 2)}, TWELVE),
    "tail without a tensor": packed({}, TWELVE),
    "end behind the file": packed({"a": tensor(0, 16, 4)}, TWELVE),
    "all behind the file": packed({"a": tensor(2**40, 2**40 + 4, 1)}, TWELVE),
    "overlapping": two((0, 4), (2, 6), 6),
    "one inside the other": packed(
        {"a": tensor(0, 12, 3), "b": tensor(4, 8, 1)}, TWELVE
    ),
    "both of the same bytes": two((0, 4), (0, 4), 4),
    "doubled name of other ranges": doubled(
        entry("a", shape=[2], data_offsets=[0, 8]),
        entry("a", shape=[1], data_offsets=[8, 12]),
    ),
    "doubled metadata": doubled('"__metadata__":{}', '"__metadata__":{}'),
    "doubled field": packed(
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[3],"data_offsets":[0,12]}}', TWELVE
    ),
    "half a byte": packed({"a": tensor(0, 1, 1, dtype="F4")}, b"\1"),
}
ACCEPTED = {
    "nothing": packed({}),
    "spaces behind": packed(b"{}      "),
    "spaces in front": packed(b"  {}"),
    "no metadata": packed({"__metadata__": None}),
    "metadata": packed({"__metadata__": {"format": "pt", "\u2028": "\x1b[2J"}}),
    "one tensor": one(),
    "more fields": one(more=[1, {}]),
    "no size": packed({"a": tensor(0, 4)}, TWELVE[:4]),
    "empty": packed({"a": tensor(0, 0, 0, 5)}),
    "two empty of one place": packed({"a": tensor(0, 0, 0), "b": tensor(0, 0, 0, 2)}),
    "order of names": two((4, 8), (0, 4)),
    "doubled name, the last right": doubled(
        entry("a", shape=[9], data_offsets=[0, 36]), entry("a")
    ),
    "doubled name, the same": doubled(entry("a"), entry("a")),
    "escaped name": packed(
        b'{"\\u0061":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}', TWELVE
    ),
    "header of no aligned length": packed(
        b'{ "a": ' + entry("a")[5:].encode() + b"}", TWELVE
    ),
    "other types": packed(
        {
            name: tensor(0, 0, 0, dtype=name)
            for name in ("I8", "BOOL", "U64", "F64", "U16", "I32", "C64")
        }
    ),
    "tensor of a list": packed({"a": ["F32", [3], [0, 12]]}, TWELVE),
    "type of an object": one(dtype={"F32": None}),
    "integers": packed({"a": tensor(0, 12, 3, 4, dtype="I8")}, TWELVE),
    "strange names": packed(
        {"": tensor(0, 4, 1), "../../a\0b": tensor(4, 8, 1)}, TWELVE[:8]
    ),
}


def numbers(path: Path) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Shape and bytes of all tensors, as read here."""
    blocks = {key: block for key, (_, block) in read_header(path).items()}
    return {key: (b.shape, b.read().tobytes()) for key, b in blocks.items()}


def theirs(path: Path) -> dict[str, tuple[tuple[int, ...], bytes]]:
    return {key: (x.shape, x.tobytes()) for key, x in load_file(path).items()}


def is_refused(path: Path) -> bool:
    try:
        load_file(path)
    except (SafetensorError, OverflowError, ValueError):  # The latter two are NumPy's.
        return True
    return False


@pytest.mark.parametrize("kind", REFUSED)
def test_what_safetensors_refuses_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(REFUSED[kind])
    assert is_refused(path)
    with pytest.raises(ValueError, match=r"model\.safetensors \(\d+ bytes\) is cut"):
        SafetensorsSource(tmp_path)


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_safetensors_takes_has_its_numbers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(ACCEPTED[kind])
    assert numbers(path) == theirs(path)


def test_types_that_numpy_does_not_have_are_raw_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = {
        "b": tensor(4, 6, 2, dtype="F8_E4M3"),
        "a": tensor(0, 4, 1, 2, dtype="BF16"),
        "c": tensor(6, 8, 2, dtype="F8_E8M0"),
    }
    path.write_bytes(packed(header, TWELVE[:8]))
    assert {key: value for key, (_, value) in numbers(path).items()} == {
        "a": TWELVE[:4],
        "b": TWELVE[4:6],
        "c": TWELVE[6:8],
    }
    path.write_bytes(packed({"a": tensor(0, 1, 2, dtype="F4")}, b"x"))
    with pytest.raises(ValueError, match="'a' is of F4, which has less than a byte"):
        read_header(path)


def test_a_header_beyond_100_mb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed({}, length=100_000_001))
    os.truncate(path, 100_000_009)  # A hole, which takes no space.
    assert is_refused(path)
    with pytest.raises(ValueError, match=r"\(100000009 bytes\) is cut off"):
        read_header(path)


def test_names_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed({str(i): tensor(0, 0, 0) for i in range(20_001)}))
    with pytest.raises(ValueError, match="it has 20001 tensors"):
        read_header(path)


def test_a_header_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the library reads it, which takes seconds."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed({f"{i:080}": tensor(0, 0, 0) for i in range(80_000)}))
    monkeypatch.setattr(safetensors_files, "safe_open", None)
    with pytest.raises(ValueError, match=r"its header has 1\d{7} bytes") as error:
        read_header(path)
    assert str(path) in str(error.value)


def test_more_axes_than_an_array_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(one(shape=[1] * 3000 + [3]))
    with pytest.raises(ValueError, match="'a' has a shape that no array can have"):
        read_header(path)


def test_a_long_name_is_shortened_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed({"x" * 50_000: tensor(0, 4, *[1] * 99)}, TWELVE[:4]))
    with pytest.raises(ValueError, match="no array") as error:
        read_header(path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "link to a device"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/zero")
        if kind == "link to a device":
            path = tmp_path / "model.safetensors"
            path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match=f"Expected a file at {path}"):
        read_header(path)


SIZES = st.one_of(st.integers(0, 3), st.sampled_from([2**31, 2**32, 2**63, 2**64]))


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Files of some tensors one after another, in which little is wrong."""
    entries, end = [], 0
    for _ in range(draw(st.integers(0, 4))):
        dtype, itemsize = draw(st.sampled_from([("F32", 4), ("F16", 2), ("U8", 1)]))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        num_bytes = int(np.prod(shape, dtype=int)) * itemsize
        entries.append(tensor(end, end + num_bytes, *shape, dtype=dtype))
        end += num_bytes
    content = draw(st.binary(min_size=end, max_size=end))
    names = draw(
        st.lists(
            st.sampled_from("abcdef"), min_size=len(entries), max_size=len(entries)
        )
    )
    for e in entries:
        if draw(st.integers(0, 5)) == 0:
            e["data_offsets"][draw(st.integers(0, 1))] += draw(st.integers(-4, 4))
        if draw(st.integers(0, 9)) == 0:
            e["shape"] = draw(st.lists(SIZES, max_size=3))
    if draw(st.integers(0, 5)) == 0:
        content += draw(st.binary(max_size=3))
    pairs = list(zip(names, map(json.dumps, entries)))
    text = ",".join(f'"{name}":{e}' for name, e in draw(st.permutations(pairs)))
    return packed(f"{{{text}}}".encode(), content)


@settings(max_examples=300, deadline=None)
@given(content=headers())
def test_every_file_is_as_for_safetensors(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.safetensors"
    path.write_bytes(content)
    if is_refused(path):
        with pytest.raises(ValueError, match=r"drawn\.safetensors"):
            read_header(path)
    else:
        assert numbers(path) == theirs(path)
