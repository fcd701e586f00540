"""The command `export` on a tiny random preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.cli import app
from keras_pg2.deploy import LiteRTModel, formats
from tests.support.tiny_models import random_task


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("presets") / "tiny"
    random_task().save_to_preset(directory)
    return directory


def export(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def assert_fails(result: Any, message: str) -> None:
    assert result.exit_code == 2
    # A line of the terminal may end anywhere.
    assert message in " ".join(result.stderr.split())
    assert result.stderr.count("Error: ") == 1


def test_an_adapter_is_merged_and_the_files_verified(preset, tmp_path) -> None:
    model = PaliGemma2CausalLM.from_preset(str(preset), dtype="float32")
    model.enable_lora(2)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    model.adapters.save(tmp_path / "adapter.safetensors")
    target = tmp_path / "files"
    words = (preset, "--to", "litert", "--output", target)
    result = export(*words, "--adapter", tmp_path / "adapter.safetensors")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [Path(line.split()[0]).name for line in lines[:3]] == [
        "litert.json",
        "model.tflite",
        "vocabulary.spm",
    ]
    assert lines[3].startswith("verified: logits differ by at most")
    picture = rng.integers(0, 256, (28, 28, 3)).astype("uint8")
    inputs = {"images": picture, "prompts": "caption en"}
    wanted = model.generate(inputs, strip_prompt=True, max_new_tokens=6)
    assert LiteRTModel(target).generate(picture, "caption en", 6) == wanted
    plain = PaliGemma2CausalLM.from_preset(str(preset), dtype="float32")
    assert plain.generate(inputs, strip_prompt=True, max_new_tokens=6) != wanted
    assert_fails(export(*words), "there already")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "tflite"), "Expected a format of saved_model, onnx, litert"),
        (("--to", "litert", "--quantize", "int2"), "float16, int8, int4. Received"),
        (("--to", "litert", "--adapter", "nowhere"), "Expected an adapter"),
    ],
)
def test_bad_words(words, message, preset, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    assert_fails(export(preset, *words, "--output", tmp_path / "files"), message)
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_named_before_loading(
    preset, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    target = tmp_path / "files"
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    result = export(preset, "--to", "litertlm", "--output", target)
    assert_fails(result, "no tensorflow, ai_edge_litert, ai_edge_quantizer, litert_lm")
    assert "pip install" in result.stderr


def test_a_file_as_a_folder_is_named_before_loading(
    preset, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(PaliGemma2CausalLM, "from_preset", None)
    (tmp_path / "file").write_text("mine")
    for name in ("file/a", "file/a/b"):
        result = export(preset, "--to", "litert", "--output", tmp_path / name)
        assert_fails(result, "Expected a folder")
        assert "file' is a file" in " ".join(result.stderr.split())
    assert (tmp_path / "file").read_text() == "mine"


def test_backends_that_cannot_are_named(tmp_path, monkeypatch) -> None:
    backend = keras.backend.backend()
    others = tuple({"jax", "tensorflow", "torch"} - {backend})
    only = formats.Format("export_litert", (), "", backends=others)
    monkeypatch.setitem(formats.FORMATS, "other", only)
    with pytest.raises(ValueError, match=f"Received: '{backend}'"):
        formats.check_export("other", None, tmp_path / "x", backend)
