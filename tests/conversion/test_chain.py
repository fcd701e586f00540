"""From format to format and back: nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model, write_model
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_models import random_task

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
QUESTION = {"images": PICTURE, "prompts": "caption en"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_chain_gives_equal_files(kind: str, dtype: str, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    first = write_model(task, tmp_path / "first", "hf", dtype)
    path: Path = first
    for to, name in [("preset", "p"), ("npz", "n/model.npz"), ("hf", "last")]:
        path = convert(path, tmp_path / name, to)
        opened = open_checkpoint(path)
        assert opened.architecture == open_checkpoint(first).architecture
        assert opened.preprocessing.tokenizer == task.preprocessor.tokenizer.proto
        assert_same_weights(opened, open_checkpoint(first))
    names = {file.name for file in first.iterdir()}
    assert names == {file.name for file in path.iterdir()}
    for name in names:
        assert (first / name).read_bytes() == (path / name).read_bytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_through_gemma_cpp(kind: str, tmp_path: Path) -> None:
    task = random_task(**KINDS[kind])
    exact = write_model(task, tmp_path / "exact.sbs", "sbs", "float32")
    assert_same_weights(open_checkpoint(exact), from_model(task.backbone))
    preset = convert(exact, tmp_path / "preset", "preset")
    again = convert(preset, tmp_path / "again.sbs", "sbs", "float32")
    assert exact.read_bytes() == again.read_bytes()
    # 16 and 8 bits are fixed points: what they hold is written the same again.
    for dtype in ("bfloat16", "sfp"):
        first = convert(preset, tmp_path / f"{dtype}.sbs", "sbs", dtype)
        second = convert(first, tmp_path / f"{dtype}_2.sbs", "sbs", dtype)
        assert first.read_bytes() == second.read_bytes()
        assert (
            open_checkpoint(first).architecture == open_checkpoint(preset).architecture
        )


@pytest.mark.parametrize("to", ["hf", "preset", "npz", "sbs"])
def test_a_model_of_any_format_answers_the_same(to: str, tmp_path: Path) -> None:
    task = random_task(sequence_length=128)
    target = tmp_path / {"npz": "m.npz", "sbs": "m.sbs"}.get(to, "m")
    write_model(task, target, to, "float32")
    loaded = PaliGemma2CausalLM.from_preset(str(target))
    assert loaded.generate(QUESTION, max_new_tokens=6) == task.generate(
        QUESTION, max_new_tokens=6
    )


@pytest.mark.every_backend
def test_lora_is_merged_into_what_is_written(tmp_path: Path) -> None:
    task = random_task(sequence_length=128)
    before = task.generate(QUESTION, max_new_tokens=6)
    task.backbone.enable_lora(2)
    for variable in task.backbone.trainable_variables:
        if "lora" in variable.path:
            rng = np.random.default_rng(len(variable.path))
            variable.assign(rng.normal(0, 1, variable.shape))
    tuned = task.generate(QUESTION, max_new_tokens=6)
    assert tuned != before
    task.export_to_transformers(tmp_path / "tuned")
    loaded = PaliGemma2CausalLM.from_preset(str(tmp_path / "tuned"))
    assert loaded.generate(QUESTION, max_new_tokens=6) == tuned


def test_a_quantised_model_is_not_written(tmp_path: Path) -> None:
    task = random_task()
    task.backbone.vision_projection.quantize("int8")
    with pytest.raises(ValueError, match="Received: a quantised one"):
        task.export_to_transformers(tmp_path / "quantised")
    assert not list(tmp_path.iterdir())
