"""A full disk is an OSError in every writer, leaves what was there, and ends nothing.

A limit on the size of files stands for the disk: whoever writes beyond it is told so.
Where the tests may mount one, a small file system in memory is a real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM, write_model
from keras_pg2.codecs.exchange import write_json
from keras_pg2.conversion.adapters.files import read_adapter
from keras_pg2.deploy.onnx.export import export_onnx
from keras_pg2.files.hdf5_files import new_hdf5
from keras_pg2.files.whole_files import check_space, replaced, updated
from tests.support.finetuning_runs import make_model
from tests.support.small_disk import enlarge, small_disk, small_file_system

Write = Callable[[PaliGemma2CausalLM, Path], Any]


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    return make_model(rank=4)


@pytest.fixture(scope="module")
def source(model: PaliGemma2CausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(model, tmp_path_factory.mktemp("source") / "hf", "hf")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


WRITERS: dict[str, tuple[int, Write]] = {
    "hf": (100_000, lambda model, path: write_model(model, path / "t", "hf")),
    "npz": (100_000, lambda model, path: write_model(model, path / "t.npz", "npz")),
    "sbs": (100_000, lambda model, path: write_model(model, path / "t.sbs", "sbs")),
    "preset": (100_000, lambda model, path: write_model(model, path / "t", "preset")),
    "save_to_preset": (100_000, lambda model, path: model.save_to_preset(path / "t")),
    "save_weights": (
        100_000,
        lambda model, path: model.save_weights(path / "t.weights.h5"),
    ),
    ".keras": (100_000, lambda model, path: model.save(path / "t.keras")),
    "tokenizer": (
        1000,
        lambda model, path: model.preprocessor.tokenizer.save_to_preset(path / "t"),
    ),
    "tokenizer of transformers": (
        10_000,
        lambda model, path: model.preprocessor.export_to_transformers(path / "t"),
    ),
    "adapter": (2000, lambda model, path: model.adapters.save(path / "t.safetensors")),
    "adapter of PEFT": (
        2000,
        lambda model, path: model.adapters.export_to_peft(path / "t"),
    ),
    ".lora.h5": (
        5000,
        lambda model, path: model.backbone.save_lora_weights(path / "t.lora.h5"),
    ),
    "ONNX": (100_000, lambda model, path: export_onnx(model, path / "t")),
    "JSON": (500, lambda model, path: write_json([0] * 10_000, path / "t.json")),
    "array": (500, lambda model, path: write_array(path / "t.npy")),
    "picture": (500, lambda model, path: write_picture(path / "t.png")),
}


def write_array(path: Path) -> None:
    with replaced(path) as part:
        np.save(part, np.zeros(1000))


def write_picture(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    with replaced(path) as part:
        Image.fromarray(noise).save(part)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_says_so_and_leaves_nothing(
    kind: str, model: PaliGemma2CausalLM, tmp_path: Path
):
    num_bytes, write = WRITERS[kind]
    # NumPy does not tell the one from the other.
    said = "No space left" if kind == "array" else "File too large"
    with small_disk(num_bytes), pytest.raises(OSError, match=said):
        write(model, tmp_path)
    assert names(tmp_path) == []
    write(model, tmp_path)
    assert names(tmp_path)


@pytest.fixture
def full_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of one page."""
    try:
        with small_file_system(tmp_path, 4096):
            yield tmp_path
    except PermissionError as error:
        pytest.skip(f"mounting a small file system needs root: {error}")


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_says_so_on_a_small_file_system(
    kind: str, model: PaliGemma2CausalLM, full_folder: Path
):
    num_bytes, write = WRITERS[kind]
    enlarge(full_folder, max(num_bytes, 4096))
    # What knows how much it will write says so before.
    with pytest.raises(OSError, match=r"No space left|where .* are free"):
        write(model, full_folder)
    assert names(full_folder) == []
    enlarge(full_folder, 1 << 26)
    write(model, full_folder)
    assert names(full_folder)


def test_a_preset_that_is_there_stays(model: PaliGemma2CausalLM, tmp_path: Path):
    model.save_to_preset(tmp_path)
    contents = {name: (tmp_path / name).stat().st_mtime_ns for name in names(tmp_path)}
    with small_disk(100_000), pytest.raises(OSError, match="File too large"):
        model.save_to_preset(tmp_path)
    files = [name for name in contents if (tmp_path / name).is_file()]
    assert names(tmp_path) == sorted(contents)
    for name in files:
        assert (tmp_path / name).stat().st_mtime_ns == contents[name]


def test_hdf5_does_not_end_the_interpreter(source: Path, tmp_path: Path):
    script = """
import sys
from keras_pg2.conversion.convert import convert
from tests.support.small_disk import small_disk
source, target = sys.argv[1:]
for limit in (10, 3000, 50_000, 200_000):
    with small_disk(limit):
        try:
            convert(source, target, "preset")
        except OSError as error:
            assert error.errno == 27, error
        else:
            raise AssertionError("It was written.")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path / "t")],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path) == []


def test_hdf5_is_read_as_it_was_written(tmp_path: Path):
    rng = np.random.default_rng(0)
    values = {f"layers/x{i}/vars/0": rng.random((300, 7)) for i in range(200)}
    with new_hdf5(tmp_path / "a.h5") as file:
        for key, value in values.items():
            dataset = file.create_dataset(key, value.shape, value.dtype)
            dataset[:100], dataset[100:] = value[:100], value[100:]
            dataset.parent.attrs["name"] = key
    with h5py.File(tmp_path / "a.h5") as file:
        for key, value in values.items():
            np.testing.assert_array_equal(file[key][()], value)
            assert file[key].parent.attrs["name"] == key


@pytest.mark.parametrize("write", [replaced, updated])
def test_the_path_of_the_caller_is_named(write: Callable, tmp_path: Path):
    """Not the folder beside it, in which the file is written."""
    target = tmp_path / "t"
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    for path in (target, tmp_path / "link"):
        with pytest.raises(OSError, match="No space left") as error, write(path) as p:
            raise OSError(28, "No space left on device", str(p / "new" / "weights"))
        assert error.value.filename == str(path)
    with pytest.raises(OSError, match="No space left") as error, write(target):
        raise OSError(28, "No space left on device", "/elsewhere")
    assert error.value.filename == "/elsewhere"


@pytest.mark.parametrize(
    ("free", "said"),
    [(999, "1.0 kB"), (123_456, "0.12 MB"), (9_876_543, "9.88 MB"), (2e10, "20.00 GB")],
)
def test_small_sizes_are_told_in_small_units(
    free: int, said: str, tmp_path: Path, monkeypatch
):
    class Usage:
        pass

    Usage.free = free
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(OSError, match=f"where {said} are free"):
        check_space(tmp_path / "a", 2**60)


def test_an_error_of_another_kind_is_left_as_it_is(tmp_path: Path):
    with pytest.raises(KeyError), new_hdf5(tmp_path / "a.h5") as file:
        file["nothing"]
    assert not h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE)
    with pytest.raises(RuntimeError, match="disk"), replaced(tmp_path / "b"):
        raise RuntimeError("the disk is blue")
    with pytest.raises(OSError, match="No space left") as error, updated(tmp_path):
        raise RuntimeError("writer.cc:12: No space left on device")
    assert error.value.filename == str(tmp_path)


def test_an_adapter_that_is_there_stays(model: PaliGemma2CausalLM, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    model.adapters.save(path)
    before = read_adapter(path).layers
    with small_disk(2000), pytest.raises(OSError, match="File too large"):
        model.adapters.save(path, overwrite=True)
    assert read_adapter(path).layers.keys() == before.keys()


def test_what_is_too_large_is_told_before(model: PaliGemma2CausalLM, tmp_path: Path):
    class Usage:
        free = 1000

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: Usage)
        for write in (
            lambda: model.save(tmp_path / "a.keras"),
            lambda: model.save_weights(tmp_path / "a.weights.json", max_shard_size=1),
        ):
            with pytest.raises(OSError, match=r"of space for .* are free"):
                write()
    assert names(tmp_path) == []


def test_tensorflow_says_so_in_the_same_way(tf, tmp_path: Path):
    module = tf.Module()
    module.weights = tf.Variable(np.zeros(100_000, np.float32))
    with (
        small_disk(20_000),
        pytest.raises(OSError, match="File too large"),
        replaced(tmp_path / "model") as part,
    ):
        tf.saved_model.save(module, str(part))
    assert names(tmp_path) == []
