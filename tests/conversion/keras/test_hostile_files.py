"""Files of strangers: no other file is read, nothing is unpacked without end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from h5py import h5d, h5g, h5p, h5s, h5t

from keras_pg2.conversion.keras.weight_files import KerasWeightsSource
from keras_pg2.conversion.tables.weight_table import Part, Row, check_types
from keras_pg2.files import hdf5_datasets
from keras_pg2.files.hdf5_datasets import check_saved_weights

STACK = np.arange(60, dtype=np.float32).reshape(5, 3, 4)
KEY = "layers/dense/vars/0"
SECRET = b"secret of the machine, 32 bytes."
Make = Callable[[h5py.File, Path], None]


def raw_dataset(
    file: h5py.File, shape: tuple[int, ...], properties: h5p.PropDCID
) -> h5d.DatasetID:
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5s.create_simple(shape)
    name = KEY.encode()
    return h5d.create(file.id, name, h5t.IEEE_F32LE, space, properties, lcpl=links)


def soft_link(file: h5py.File, secret: Path) -> None:
    file["elsewhere"] = STACK
    file[KEY] = h5py.SoftLink("/elsewhere")


def soft_link_of_a_group(file: h5py.File, secret: Path) -> None:
    file["elsewhere/vars/0"] = STACK
    file["layers/dense"] = h5py.SoftLink("/elsewhere")


def dangling_link(file: h5py.File, secret: Path) -> None:
    file[KEY] = h5py.SoftLink("/nothing")


def external_link(file: h5py.File, secret: Path) -> None:
    other = secret.with_name("other.h5")
    with h5py.File(other, "w") as writing:
        writing["x"] = STACK
    file[KEY] = h5py.ExternalLink(str(other), "/x")


def external_link_of_a_group(file: h5py.File, secret: Path) -> None:
    other = secret.with_name("other.h5")
    with h5py.File(other, "w") as writing:
        writing["vars/0"] = STACK
    file["layers/dense"] = h5py.ExternalLink(str(other), "/")


def external_link_to_a_pipe(file: h5py.File, secret: Path) -> None:
    os.mkfifo(secret.with_name("pipe"))
    file[KEY] = h5py.ExternalLink(str(secret.with_name("pipe")), "/x")


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, (8,), "<f4", external=[(str(secret), 0, 32)])


def external_storage_of_a_system_file(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, (8,), "<f4", external=[("/etc/passwd", 0, 32)])


def external_storage_in_parts(file: h5py.File, secret: Path) -> None:
    parts = [(str(secret), 0, 16), (str(secret), 16, h5py.h5f.UNLIMITED)]
    file.create_dataset(KEY, (8,), "<f4", external=parts)


def virtual(file: h5py.File, secret: Path) -> None:
    other = secret.with_name("other.h5")
    with h5py.File(other, "w") as writing:
        writing["x"] = STACK
    layout = h5py.VirtualLayout(STACK.shape, "<f4")
    layout[:] = h5py.VirtualSource(str(other), "x", STACK.shape)
    file.create_virtual_dataset(KEY, layout)


def virtual_of_the_same_file(file: h5py.File, secret: Path) -> None:
    file["x"] = STACK
    layout = h5py.VirtualLayout(STACK.shape, "<f4")
    layout[:] = h5py.VirtualSource(".", "x", STACK.shape)
    file.create_virtual_dataset(KEY, layout)


def never_written(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, (5, 3), "<f4")


def never_written_of_sevens(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, (5, 3), "<f4", fillvalue=7.0)


def a_terabyte_never_written(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, (2**38,), "<f4")


def a_terabyte_of_chunks(file: h5py.File, secret: Path) -> None:
    data = file.create_dataset(KEY, (2**38,), "<f4", chunks=(1024,))
    data[:1024] = 1


def chunks_not_all_written(file: h5py.File, secret: Path) -> None:
    data = file.create_dataset(KEY, (10, 4), "<f4", chunks=(2, 4))
    data[:8] = 1


def bomb(file: h5py.File, secret: Path) -> None:
    """80 MB of zeros in 80 kB."""
    file.create_dataset(
        KEY, data=np.zeros((20, 10**6), "<f4"), chunks=(1, 10**6), compression="gzip"
    )


def bomb_of_one_small_chunk(file: h5py.File, secret: Path) -> None:
    """A stream that goes on behind the numbers of its chunk."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((16,))
    properties.set_deflate(9)
    dataset = raw_dataset(file, (16,), properties)
    dataset.write_direct_chunk((0,), zlib.compress(bytes(10**7)))


def short_stream(file: h5py.File, secret: Path) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((16,))
    properties.set_deflate(9)
    dataset = raw_dataset(file, (16,), properties)
    dataset.write_direct_chunk((0,), zlib.compress(bytes(60)))


def short_chunk(file: h5py.File, secret: Path) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((16,))
    properties.set_shuffle()
    dataset = raw_dataset(file, (16,), properties)
    dataset.write_direct_chunk((0,), bytes(60))


def a_large_chunk_of_one_number(file: h5py.File, secret: Path) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((2**27,))
    properties.set_deflate(9)
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5s.create_simple((1,), (h5s.UNLIMITED,))
    dataset = h5d.create(
        file.id, KEY.encode(), h5t.IEEE_F32LE, space, properties, lcpl=links
    )
    dataset.write_direct_chunk((0,), zlib.compress(bytes(100)))


def packed_twice(file: h5py.File, secret: Path) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((16,))
    properties.set_deflate(9)
    properties.set_deflate(9)
    dataset = raw_dataset(file, (16,), properties)
    dataset.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(64))))


def other_filter(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, data=STACK, compression="lzf")


def scale_and_offset(file: h5py.File, secret: Path) -> None:
    file.create_dataset(KEY, data=STACK, scaleoffset=2)


def noted_as(noted: object, values: np.ndarray) -> Make:
    def make(file: h5py.File, secret: Path) -> None:
        file[KEY] = values
        file[KEY].attrs["dtype"] = noted

    return make


def holding(values: object) -> Make:
    def make(file: h5py.File, secret: Path) -> None:
        file[KEY] = values

    return make


RAW = STACK.astype(ml_dtypes.bfloat16).view("V2")
REFUSED: dict[str, tuple[Make, str]] = {
    "soft link": (soft_link, "a link to somewhere else"),
    "soft link of a group": (soft_link_of_a_group, "a link to somewhere else"),
    "dangling link": (dangling_link, "a link to somewhere else"),
    "external link": (external_link, "a link to somewhere else"),
    "external link of a group": (external_link_of_a_group, "a link to somewhere else"),
    "external link to a pipe": (external_link_to_a_pipe, "a link to somewhere else"),
    "external storage": (external_storage, "in another file"),
    "external storage of a system file": (
        external_storage_of_a_system_file,
        "in another file",
    ),
    "external storage in parts": (external_storage_in_parts, "in another file"),
    "virtual": (virtual, "made of other datasets"),
    "virtual of the same file": (virtual_of_the_same_file, "made of other datasets"),
    "never written": (never_written, "not all was written"),
    "never written, filled": (never_written_of_sevens, "not all was written"),
    "a terabyte never written": (a_terabyte_never_written, "not all was written"),
    "a terabyte of chunks": (a_terabyte_of_chunks, "not all was written"),
    "chunks not all written": (chunks_not_all_written, "not all was written"),
    "bomb": (bomb, "would have 80000000 bytes"),
    "bomb of one small chunk": (bomb_of_one_small_chunk, "another size"),
    "short stream": (short_stream, "another size"),
    "short chunk": (short_chunk, "another size"),
    "a large chunk of one number": (a_large_chunk_of_one_number, "536870912 bytes"),
    "packed twice": (packed_twice, "another filter than gzip"),
    "another filter": (other_filter, "another filter than gzip"),
    "scale and offset": (scale_and_offset, "another filter than gzip"),
    "bfloat16 of four bytes": (noted_as("bfloat16", STACK), "noted as, 'bfloat16'"),
    "bfloat16 of integers": (
        noted_as("bfloat16", STACK.astype("u2")),
        "noted as, 'bfloat16'",
    ),
    "float32 of two bytes": (noted_as("float32", RAW), "noted as, 'float32'"),
    "float16 of raw bytes": (noted_as("float16", RAW), "noted as, 'float16'"),
    "a type of a number": (noted_as(7, STACK), "noted as"),
    "a type of a list": (noted_as(["float32"] * 3, STACK), "noted as"),
    "a long type": (noted_as(np.zeros(1000), STACK), "noted as, 'an array'"),
    "raw bytes": (holding(RAW), "Received: |V2"),
    "complex numbers": (holding(STACK.astype("c8")), "complex64, which are no weights"),
    "texts": (holding("weights"), "which are no weights"),
    "many texts": (holding([b"weights", b"more"]), "which are no weights"),
    "records": (
        holding(np.zeros(3, [("a", "<f4"), ("b", "<f4")])),
        "which are no weights",
    ),
    "no numbers": (holding(h5py.Empty("f4")), "which are no weights"),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path / "model"


def write(directory: Path, make: Make) -> Path:
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        make(file, directory.parent / "secret")
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_wrong_is_refused(kind: str, directory: Path) -> None:
    make, message = REFUSED[kind]
    path = write(directory, make)
    with pytest.raises(ValueError, match=message) as error:
        KerasWeightsSource(directory)
    assert str(path) in str(error.value)


def nest(path: Path, depth: int, name: bytes = b"a") -> None:
    """Put groups into groups of a file, and a dataset into the innermost."""
    with h5py.File(path, "a") as file:
        group = file.id
        for _ in range(depth):
            group = h5g.create(group, name)
        h5py.Group(group)["x"] = STACK


def test_groups_in_groups_without_end_are_refused(directory: Path) -> None:
    """HDF5 itself ends the process when it visits them, so another one looks."""
    path = directory / "model.weights.h5"
    nest(path, 12_000)
    reading = (
        "import sys; from pathlib import Path\n"
        "from keras_pg2.files.hdf5_datasets import check_saved_weights\n"
        "check_saved_weights(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", reading, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.returncode
    message = done.stderr.splitlines()[-1]
    assert "groups in groups, more than 64" in message
    assert str(path) in message


def test_groups_in_groups_are_read(directory: Path) -> None:
    path = directory / "model.weights.h5"
    nest(path, 63)
    assert check_saved_weights(path) == {"a/" * 63 + "x": STACK.shape}
    nest(path, 64, b"b")
    with pytest.raises(ValueError, match="groups in groups, more than 64"):
        check_saved_weights(path)


def test_a_group_in_itself_is_refused(directory: Path) -> None:
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["a/x"] = STACK
        file["a/again"] = file["a"]
    with pytest.raises(ValueError, match="groups in groups, more than 64"):
        check_saved_weights(path)


def test_groups_that_are_shared_at_every_level_are_refused(directory: Path) -> None:
    """2^20 paths of 21 groups."""
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(20):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    with pytest.raises(ValueError, match="more than 20000 groups and datasets"):
        check_saved_weights(path)


def test_paths_without_end_are_refused(directory: Path) -> None:
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/" + "x" * 5000] = STACK
    with pytest.raises(ValueError, match="a path of more than 4096 bytes") as error:
        check_saved_weights(path)
    assert len(str(error.value)) < 500


def test_many_chunks_of_few_bytes_are_refused(directory: Path) -> None:
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(KEY, data=np.zeros((40, 30), "f4"), chunks=(1, 1))
    with pytest.raises(ValueError, match="1200 chunks of few bytes, 1200 of them of"):
        check_saved_weights(path)


def test_chunks_that_h5py_chooses_are_read(directory: Path) -> None:
    path, values = directory / "model.weights.h5", np.ones((1500, 2000), "f2")
    with h5py.File(path, "w") as file:
        file.create_dataset(KEY, data=values, chunks=True, compression="gzip")
    assert check_saved_weights(path) == {KEY: values.shape}


def test_a_long_type_is_shortened(directory: Path) -> None:
    write(directory, noted_as("x" * 60_000, STACK))
    with pytest.raises(ValueError, match="noted as, 'xxx") as error:
        KerasWeightsSource(directory)
    assert len(str(error.value)) < 500


def test_names_without_end_are_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_datasets, "_MAX_LINKS", 10)
    path = directory / "model.weights.h5"
    with h5py.File(path, "w") as file:
        for i in range(10):
            file[f"link_{i}"] = STACK
    assert len(list(KerasWeightsSource(directory).keys())) == 10
    with h5py.File(path, "r+") as file:
        file["one more"] = file["link_0"]
    with pytest.raises(ValueError, match="more than 10 groups and datasets"):
        KerasWeightsSource(directory)


@pytest.mark.parametrize("kind", [k for k in list(REFUSED)[:24] if k != "bomb"])
def test_keras_is_not_given_it(kind: str, directory: Path) -> None:
    path = write(directory, REFUSED[kind][0])
    with pytest.raises(ValueError, match=str(path)):
        check_saved_weights(path)


@pytest.mark.parametrize("kind", ["cut off", "no HDF5", "empty", "grown"])
def test_damaged_files_are_refused(kind: str, directory: Path) -> None:
    path = write(directory, holding(STACK))
    data = path.read_bytes()
    path.write_bytes(
        {"cut off": data[:-100], "no HDF5": b"x" * 5000, "empty": b""}.get(
            kind, data[:50] + b"\xff" * 40 + data[90:]
        )
    )
    with pytest.raises(OSError, match="which is truncated or damaged"):
        KerasWeightsSource(directory)


@pytest.mark.parametrize("kind", ["pipe", "directory", "link outside", "device"])
def test_what_is_no_file_is_refused(kind: str, directory: Path) -> None:
    path = directory / "model.weights.h5"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with h5py.File(directory.parent / "other.h5", "w") as file:
            file[KEY] = STACK
        path.symlink_to(directory.parent / "other.h5")
    with pytest.raises((OSError, ValueError), match=r"model\.weights\.h5"):
        KerasWeightsSource(directory)


@pytest.mark.parametrize("name", ["../other.h5", "/etc/passwd", "..\\other.h5"])
@pytest.mark.parametrize("in_list", [False, True])
def test_an_index_that_leads_out_is_refused(
    name: str, in_list: bool, directory: Path
) -> None:
    with h5py.File(directory.parent / "other.h5", "w") as file:
        file[KEY] = STACK
    index = directory / "model.weights.json"
    names = [name] if in_list else name
    index.write_text(json.dumps({"weight_map": {"/layers/dense/vars": names}}))
    for read in (
        lambda: KerasWeightsSource(directory),
        lambda: check_saved_weights(index),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=r"weights\.json"):
            read()


def own_float(file: h5py.File, secret: Path) -> None:
    """16 bits with 8 of exponent, as HDF5 can describe bfloat16."""
    number = h5t.IEEE_F32LE.copy()
    number.set_fields(15, 7, 8, 0, 7)
    number.set_size(2)
    number.set_ebias(127)
    properties = h5p.create(h5p.DATASET_CREATE)
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5s.create_simple(STACK.shape)
    dataset = h5d.create(file.id, KEY.encode(), number, space, properties, lcpl=links)
    dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(STACK))


def compact(file: h5py.File, secret: Path) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.COMPACT)
    dataset = raw_dataset(file, STACK.shape, properties)
    dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(STACK))


def in_chunks(**options: object) -> Make:
    def make(file: h5py.File, secret: Path) -> None:
        file.create_dataset(KEY, data=STACK, chunks=(2, 3, 3), **options)

    return make


TAKEN: dict[str, Make] = {
    "plain": holding(STACK),
    "float16": holding(STACK.astype("f2")),
    "float64": holding(STACK.astype("f8")),
    "the other byte order": holding(STACK.astype(">f4")),
    "float16 of the other byte order": holding(STACK.astype(">f2")),
    "bfloat16": noted_as("bfloat16", RAW),
    "a type that fits": noted_as("float32", STACK),
    "another float of 16 bits": own_float,
    "compact": compact,
    "chunks": in_chunks(),
    "gzip": in_chunks(compression="gzip"),
    "gzip, shuffled, with a checksum": in_chunks(
        compression="gzip", shuffle=True, fletcher32=True
    ),
    "a checksum": in_chunks(fletcher32=True),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_hdf5_reads_has_its_numbers(kind: str, directory: Path) -> None:
    write(directory, TAKEN[kind])
    source = KerasWeightsSource(directory)
    check_types([Row("x", KEY)], source)
    value = source.read(KEY)
    assert value.dtype.isnative
    np.testing.assert_array_equal(value.astype("float32"), STACK)
    layer = source.read(KEY, Part(STACK.shape, (3,)))
    np.testing.assert_array_equal(layer.astype("float32"), STACK[3])


def test_a_file_behind_a_block_of_the_user_is_read(directory: Path) -> None:
    path = directory / "model.weights.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file[KEY] = STACK
    np.testing.assert_array_equal(KerasWeightsSource(directory).read(KEY), STACK)


def test_a_replaced_file_is_read_on_or_told(directory: Path) -> None:
    path = write(directory, holding(STACK))
    source = KerasWeightsSource(directory)
    with h5py.File(directory / "other", "w") as file:
        file[KEY] = -STACK
    (directory / "other").replace(path)
    np.testing.assert_array_equal(source.read(KEY), STACK)
    write(directory, in_chunks(compression="gzip"))
    source = KerasWeightsSource(directory)
    with h5py.File(directory / "other", "w") as file:
        file[KEY] = -STACK
    (directory / "other").replace(path)
    with pytest.raises(OSError, match="changed or replaced"):
        source.read(KEY)


def test_a_checksum_that_is_wrong_is_told(directory: Path) -> None:
    path = write(directory, in_chunks(fletcher32=True))
    data = path.read_bytes()
    place = data.index(STACK[0, 0, :3].tobytes())
    path.write_bytes(data[:place] + b"\1" + data[place + 1 :])
    source = KerasWeightsSource(directory)
    with pytest.raises(OSError, match=r"model\.weights\.h5, which is truncated or dam"):
        source.read(KEY)


def test_what_hdf5_cannot_visit_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.h5"
    with h5py.File(whole, "w") as file:
        file.create_dataset("group/vars/0", data=np.ones(3, np.float32))
    content = whole.read_bytes()
    path = tmp_path / "damaged.h5"
    num_refused = 0
    for index in (i for i, byte in enumerate(content) if byte):
        path.write_bytes(
            content[:index] + bytes([content[index] ^ 0xFF]) + content[index + 1 :]
        )
        try:
            with h5py.File(path, "r") as file:
                file.visititems(lambda name, item: None)
        except Exception:  # h5py raises a dozen kinds.
            num_refused += 1
            with pytest.raises((OSError, ValueError), match=r"damaged\.h5"):
                check_saved_weights(path)
    assert num_refused > 50
