"""Files of strangers: what NumPy and zipfile refuse is refused, and more by name."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from keras_pg2.conversion.big_vision.npz_files import NpzSource
from keras_pg2.conversion.tables.weight_table import Part, Row, check_types

STACK = np.arange(60, dtype=np.float32).reshape(5, 3, 4)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def with_header(header: str, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode()
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + content


def claiming(
    shape: object, content: bytes = b"", descr: object = "<f4", fortran: bool = False
) -> bytes:
    header = {"descr": descr, "fortran_order": fortran, "shape": shape}
    return with_header(repr(header) + "\n", content)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def one(content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    return zipped(("a.npy", content), method=method)


def patched(data: bytes, offset_in_directory: int, change: bytes) -> bytes:
    """An archive of one member with another entry in its directory."""
    start = data.index(b"PK\1\2") + offset_in_directory
    return data[:start] + change + data[start + len(change) :]


def encrypted() -> bytes:
    data = patched(one(npy(STACK)), 8, b"\1\0")
    return data[:6] + b"\1\0" + data[8:]


def unknown_method() -> bytes:
    data = patched(one(npy(STACK)), 10, b"\x61\0")
    return data[:8] + b"\x61\0" + data[10:]


def overlapping() -> bytes:
    """Two members, of which the first is said to be as long as both."""
    data = zipped(("a.npy", npy(STACK)), ("b.npy", npy(STACK)))
    sizes = struct.pack("<II", 2 * len(npy(STACK)), 2 * len(npy(STACK)))
    return patched(data, 20, sizes)


def two_names_for_one() -> bytes:
    data = zipped(("a.npy", npy(STACK)), ("b.npy", npy(STACK)))
    second = data.rindex(b"PK\1\2")
    return data[: second + 42] + bytes(4) + data[second + 46 :]


def bomb() -> bytes:
    """80 MB of zeros in 80 kB."""
    return one(claiming((20_000_000,), bytes(80_000_000)), zipfile.ZIP_DEFLATED)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no byte": (lambda: b"", "not a zip file"),
    "no zip": (lambda: b"weights" * 100, "not a zip file"),
    "no npy": (lambda: one(b"weights" * 100), "magic string"),
    "an empty member": (lambda: one(b""), "EOF"),
    "only a magic string": (lambda: one(b"\x93NUMPY\1\0"), "EOF"),
    "unknown version": (lambda: one(with_header("{}", version=b"\4\0")), "version"),
    "cut off at the end": (lambda: one(npy(STACK))[:-10], "not a zip file"),
    "cut off in the middle": (lambda: one(npy(STACK))[:200], "not a zip file"),
    "cut off in front": (lambda: one(npy(STACK))[30:], "a.npz"),
    "behind other bytes, which NumPy refuses too": (
        lambda: b"#!" + bytes(1000) + one(npy(STACK)),
        "something stands before its first array",
    ),
    "another name in its header": (
        lambda: one(npy(STACK)).replace(b"a.npy", b"b.npy", 1),
        "differ",
    ),
    "two members of a name": (
        lambda: zipped(("a.npy", npy(STACK)), ("b.npy", npy(STACK))).replace(
            b"b.npy", b"a.npy"
        ),
        "two arrays of the name 'a'",
    ),
    "a name with and without its ending": (
        lambda: zipped(("a.npy", npy(STACK)), ("a", npy(STACK))),
        "two arrays of the name 'a'",
    ),
    "encrypted": (encrypted, "'a' is encrypted"),
    "unknown compression": (unknown_method, "another method than np.savez_compressed"),
    "bzip2": (lambda: one(npy(STACK), zipfile.ZIP_BZIP2), "another method than np"),
    "LZMA": (lambda: one(npy(STACK), zipfile.ZIP_LZMA), "another method than np"),
    "overlapping": (overlapping, "overlap"),
    "two names for one": (two_names_for_one, "differ|overlap"),
    "stored of two sizes": (
        lambda: patched(one(npy(STACK)), 24, struct.pack("<I", 5000)),
        "two sizes",
    ),
    "behind the end": (
        lambda: patched(one(npy(STACK)), 20, struct.pack("<II", 2**31, 2**31)),
        "overlap",
    ),
    "a header behind the end": (
        lambda: patched(one(npy(STACK)), 42, struct.pack("<I", 2**30)),
        "a.npz",
    ),
    "shape of a terabyte": (lambda: one(claiming((2**38,))), "shorter or longer"),
    "packed shape of a terabyte": (
        lambda: one(claiming((2**38,)), zipfile.ZIP_DEFLATED),
        "shorter or longer",
    ),
    "shape whose product overflows": (
        lambda: one(claiming((2**32, 2**32, 16))),
        "no array can have",
    ),
    "nothing of an endless shape": (
        lambda: one(claiming((0, 2**62))),
        "no array can have",
    ),
    "negative sizes": (lambda: one(claiming((-1, -1), bytes(4))), "no array can have"),
    "sizes of fractions": (lambda: one(claiming((1.0,), bytes(4))), "shape"),
    "a shape of a text": (lambda: one(claiming("x")), "shape"),
    "a size of 3,000 digits": (
        lambda: one(claiming((10**3000,))),
        "no array can have",
    ),
    "more axes than an array has": (
        lambda: one(claiming((1,) * 1000, bytes(4))),
        "no array can have",
    ),
    "a header of a megabyte": (
        lambda: one(with_header(" " * 10**6, version=b"\2\0")),
        "large",
    ),
    "a header of code": (
        lambda: one(with_header("__import__('os').abort()")),
        "[Cc]annot parse header|malformed",
    ),
    "lists in lists": (lambda: one(with_header("(" * 4000)), "a.npz"),
    "a header of a list": (lambda: one(with_header("[]\n")), "not a dictionary"),
    "no shape": (lambda: one(with_header("{'descr': '<f4'}\n")), "correct keys"),
    "a type that is none": (lambda: one(claiming((1,), descr="<q9")), "descriptor"),
    "too few bytes": (lambda: one(claiming((4,), bytes(12))), "shorter or longer"),
    "too many bytes": (lambda: one(claiming((2,), bytes(12))), "shorter or longer"),
    "objects": (lambda: one(npy(np.array([{}], object))), "'a' holds objects"),
    "by columns": (lambda: one(npy(np.asfortranarray(STACK[0]))), "by columns"),
    "bomb": (bomb, "'a' would have 80000"),
    "too many arrays": (
        lambda: zipped(*((f"{i}.npy", b"") for i in range(10_001))),
        "it has 10001 arrays",
    ),
}


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_is_refused(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    path = write(tmp_path, make())
    with pytest.raises(ValueError, match=r"Expected a whole \.npz of plain") as error:
        NpzSource(path)
    assert str(path) in str(error.value)
    assert re.search(message, str(error.value))


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
}
TYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "float64": np.float64,
    "the other byte order": ">f4",
    "float16 of the other byte order": ">f2",
    "float64 of the other byte order": ">f8",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", TYPES)
def test_what_numpy_reads_has_its_numbers(
    method: str, dtype: str, tmp_path: Path
) -> None:
    stack = (STACK / 7).astype(TYPES[dtype])
    path = write(tmp_path, one(npy(stack), METHODS[method]))
    with np.load(path) as file:
        expected = file["a"].astype("float16" if "float16" in dtype else "float32")
    source = NpzSource(path)
    assert source.dtype("a") == expected.dtype
    check_types([Row("x", "a")], source)
    assert source.read("a").dtype.isnative
    np.testing.assert_array_equal(source.read("a"), expected)
    for i in range(5):
        layer = source.read("a", Part((5, 3, 4), (i,)))
        assert layer.dtype == expected.dtype
        np.testing.assert_array_equal(layer, expected[i])
    np.testing.assert_array_equal(
        source.read("a", Part((5, 3, 4), (slice(None), 1))), expected[:, 1]
    )


NO_WEIGHTS = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int64": np.int64,
    "bool": np.bool_,
    "complex64": np.complex64,
    "longdouble": np.longdouble,
    "text": "<U3",
    "bytes": "S4",
    "raw": "V4",
    "nothing": "V0",
    "dates": "<M8[s]",
    "records": [("re", "<f4"), ("im", "<f4")],
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_other_types_are_no_weights(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, one(npy(np.zeros((5, 2), NO_WEIGHTS[kind]))))
    with pytest.raises(ValueError, match="1 of other types: a "):
        check_types([Row("x", "a")], NpzSource(path))


def test_bfloat16_is_two_raw_bytes(tmp_path: Path) -> None:
    values = STACK.astype(ml_dtypes.bfloat16)
    path = write(tmp_path, one(npy(values.view("V2"))))
    source = NpzSource(path)
    assert source.dtype("a") == values.dtype
    np.testing.assert_array_equal(source.read("a"), values)


def test_a_name_that_leads_out_is_a_name(tmp_path: Path) -> None:
    """Nothing is ever unpacked to a file."""
    names = ["../../evil.npy", "/tmp/evil.npy", "C:\\evil.npy", "a/./b.npy"]
    path = write(tmp_path, zipped(*((name, npy(STACK)) for name in names)))
    assert sorted(NpzSource(path).keys()) == sorted(n[:-4] for n in names)
    assert os.listdir(tmp_path) == ["a.npz"]


def flipped(method: int = zipfile.ZIP_STORED) -> bytes:
    """A stack of 5 layers of 20 kB, of which one bit in the third is another."""
    stack = np.repeat(STACK, 400, axis=2)
    data = npy(stack)
    place = len(data) - stack.nbytes + stack.nbytes // 2
    wrong = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    buffer = bytearray(one(wrong, method))
    crc, other = (struct.pack("<I", zlib.crc32(x)) for x in (data, wrong))
    return bytes(buffer).replace(other, crc)


def test_a_wrong_checksum_is_told_as_numpy_tells_it(tmp_path: Path) -> None:
    path = write(tmp_path, flipped())
    with np.load(path) as file, pytest.raises(zipfile.BadZipFile, match="CRC"):
        file["a"]
    source = NpzSource(path)
    with pytest.raises(ValueError, match=r"Expected the checksum of a that .*a\.npz"):
        source.read("a")
    with pytest.raises(ValueError, match="checksum of a"):
        source.read("a", Part((5, 3, 1600), (slice(None), 1)))


@pytest.mark.parametrize("order", [range(5), [4, 0, 2, 1, 3]])
def test_a_wrong_checksum_is_told_with_the_last_layer(
    order: list[int], tmp_path: Path
) -> None:
    source = NpzSource(write(tmp_path, flipped()))
    parts = [Part((5, 3, 1600), (i,)) for i in order]
    for part in parts[:-1]:
        source.read("a", part)
    with pytest.raises(ValueError, match=r"checksum of a that .*a\.npz"):
        source.read("a", parts[-1])


def test_a_wrong_checksum_of_a_packed_array_is_told(tmp_path: Path) -> None:
    source = NpzSource(write(tmp_path, flipped(zipfile.ZIP_DEFLATED)))
    with pytest.raises(ValueError, match=r"a\.npz .*CRC"):
        source.read("a", Part((5, 3, 1600), (2,)))


def test_a_damaged_stream_is_told(tmp_path: Path) -> None:
    data = bytearray(one(npy(np.random.default_rng(0).random(500)), 8))
    data[-300] ^= 0xFF
    source = NpzSource(write(tmp_path, bytes(data)))
    with pytest.raises(ValueError, match=r"Expected a whole \.npz .*a\.npz"):
        source.read("a")


def test_a_replaced_file_is_not_mixed_up(tmp_path: Path) -> None:
    path = write(tmp_path, one(npy(STACK)))
    packed = tmp_path / "packed.npz"
    packed.write_bytes(one(npy(STACK), zipfile.ZIP_DEFLATED))
    sources = [NpzSource(path), NpzSource(packed)]
    for target in (path, packed):
        other = tmp_path / "other"
        other.write_bytes(one(npy(-STACK)))
        other.replace(target)
    np.testing.assert_array_equal(sources[0].read("a"), STACK)
    with pytest.raises((OSError, ValueError), match=r"packed\.npz"):
        sources[1].read("a")


def test_threads_that_read_packed_arrays_get_their_own(tmp_path: Path) -> None:
    """The array that is kept may be another by the time it is returned."""
    path = write(
        tmp_path,
        zipped(("a.npy", npy(STACK)), ("b.npy", npy(-STACK)), method=8),
    )
    source = NpzSource(path)
    unpack = source._unpack

    def unpack_and_be_overtaken(key: str) -> np.ndarray:
        value = unpack(key)
        if key == "a":
            source.read("b")
        return value

    source._unpack = unpack_and_be_overtaken  # type: ignore[method-assign]
    np.testing.assert_array_equal(source.read("a"), STACK)


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(OSError, match="Received: something else"):
        NpzSource(path)


def test_unwanted_arrays_are_not_looked_at(tmp_path: Path) -> None:
    data = zipped(("a.npy", npy(STACK)), ("opt/x.npy", npy(np.array([{}], object))))
    source = NpzSource(write(tmp_path, data), lambda key: not key.startswith("opt/"))
    assert list(source.keys()) == ["a"]
    assert source.others == ["opt/x"]


def test_unwanted_arrays_begin_where_the_directory_says(tmp_path: Path) -> None:
    data = zipped(("a.npy", npy(STACK)), ("opt/x.npy", npy(STACK)))
    start = data.rindex(b"PK\3\4")
    path = write(tmp_path, data[:start] + b"PK\3\5" + data[start + 4 :])
    with pytest.raises(ValueError, match="magic number"):
        NpzSource(path, lambda key: not key.startswith("opt/"))
