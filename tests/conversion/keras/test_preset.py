"""Presets written without a model equal those that Keras writes of one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import keras_hub
import pytest

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model, write_model
from keras_pg2.conversion.keras import weight_files
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_models import random_task

FILES = ("config", "metadata", "preprocessor", "task", "tokenizer", "image_converter")


def read(directory: Path, name: str) -> dict:
    text = (directory / f"{name}.json").read_text()
    # Keras numbers the second object of a class in a process.
    content = json.loads(re.sub(r'("name": "pali_gemma2_\w+?)_\d+"', r'\1"', text))
    content.pop("date_saved", None)
    return content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.every_backend
def test_every_file_is_as_keras_writes_it(kind: str, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    task.save_to_preset(str(tmp_path / "theirs"))
    ours = write_model(task, tmp_path / "ours", "preset")
    for name in FILES:
        assert read(ours, name) == read(tmp_path / "theirs", name), name
    vocabulary = Path("assets") / "tokenizer" / "vocabulary.spm"
    theirs = (tmp_path / "theirs" / vocabulary).read_bytes()
    assert (ours / vocabulary).read_bytes() == theirs
    assert_same_weights(open_checkpoint(ours), open_checkpoint(tmp_path / "theirs"))
    assert "library_name: keras-hub" in (ours / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shard_bytes", [weight_files.MAX_SHARD_BYTES, 100_000])
@pytest.mark.every_backend
def test_keras_reads_it(
    dtype: str, shard_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "MAX_SHARD_BYTES", shard_bytes)
    task = random_task()
    path = write_model(task, tmp_path / "preset", "preset", dtype)
    assert (len(list(path.glob("*.h5"))) == 1) == (shard_bytes > 1e6)
    options = {"dtype": dtype}
    loaded = keras_hub.models.CausalLM.from_preset(str(path), **options)
    assert isinstance(loaded, PaliGemma2CausalLM)
    assert_same_weights(from_model(loaded.backbone), open_checkpoint(path))
    assert {v.dtype for v in loaded.backbone.weights} == {dtype}


def test_of_a_network_alone(tmp_path: Path) -> None:
    task = PaliGemma2CausalLM(random_task().backbone)
    path = write_model(task, tmp_path / "preset", "preset")
    assert not (path / "tokenizer.json").exists()
    assert_same_weights(open_checkpoint(path), from_model(task.backbone))


# Keras 3.15 says so of inputs and norms.
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_quantised_preset_is_not_converted(tmp_path: Path) -> None:
    task = random_task()
    task.backbone.quantize("int8")
    task.save_to_preset(str(tmp_path / "int8"))
    checkpoint = open_checkpoint(tmp_path / "int8")
    assert checkpoint.policies is not None
    assert not checkpoint.check()
    assert 0 < checkpoint.num_bytes < 4 * checkpoint.num_parameters
    with pytest.raises(ValueError, match="call `quantize` again"):
        checkpoint.check_is_float()
    with pytest.raises(ValueError, match="call `quantize` again"):
        convert(tmp_path / "int8", tmp_path / "hf", "hf")


def test_count_that_contradicts_the_numbers(tmp_path: Path) -> None:
    path = write_model(random_task(), tmp_path / "preset", "preset")
    metadata = read(path, "metadata")
    (path / "metadata.json").write_text(json.dumps({**metadata, "parameter_count": 7}))
    with pytest.raises(ValueError, match="numbers that make 7 weights"):
        open_checkpoint(path)


@pytest.mark.parametrize("whole", [True, False])
def test_keras_reads_no_weights_of_elsewhere(whole: bool, tmp_path: Path) -> None:
    """Keras takes what was never written for zeros, and opens what a link leads to."""
    task = random_task()
    model = task if whole else task.backbone
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    model.load_weights(path)
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = next(n for n in names if n.endswith("token_embedding/vars/0"))
        shape = file[name].shape
        del file[name]
        file.create_dataset(name, shape, "<f4")
    with pytest.raises(ValueError, match=f"Received: .{name}., of which not all"):
        model.load_weights(path)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    with pytest.raises(ValueError, match=f"Received: .{name}., a link to somewhere"):
        model.load_weights(path)
