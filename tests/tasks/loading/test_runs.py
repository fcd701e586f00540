"""Runs and adapters as presets, for the task and for its parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import keras_pg2
from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM, PaliGemma2Tokenizer

PICTURE = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype("uint8")
ASKED = {"images": PICTURE, "prompts": "caption en"}


def answer(model: PaliGemma2CausalLM) -> tuple[str, float]:
    found = model.generate(ASKED, max_new_tokens=8, return_scores=True)
    return found.text, round(found.log_probability, 3)


def assert_same(ours: PaliGemma2Backbone, theirs: PaliGemma2Backbone) -> None:
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), a.path)


def test_a_run_is_loaded_with_its_adapter(trained_run: Path) -> None:
    base = PaliGemma2CausalLM.from_preset(trained_run.parent / "base")
    plain = answer(base)
    base.adapters.load(trained_run)
    model = PaliGemma2CausalLM.from_preset(str(trained_run))
    assert model.adapters.names == ["run"]
    assert answer(model) == answer(base) != plain
    assert len(model.trainable_variables) == 8
    assert model.mask_codec is not None
    frozen = PaliGemma2CausalLM.from_preset(trained_run, trainable=False)
    assert frozen.trainable_variables == []


def test_parts_of_a_run(trained_run: Path) -> None:
    """A network has the adapter in its kernels; the rest is the base's."""
    model = PaliGemma2CausalLM.from_preset(trained_run)
    model.adapters.merge()
    assert_same(PaliGemma2Backbone.from_preset(trained_run), model.backbone)
    tokenizer = PaliGemma2Tokenizer.from_preset(trained_run)
    assert tokenizer.proto == model.preprocessor.tokenizer.proto


def test_answers_are_as_long_as_those_of_training(trained_run, tmp_path):
    """And never shorter than those of the base."""
    base = PaliGemma2CausalLM.from_preset(trained_run.parent / "base")
    length = base.preprocessor.sequence_length
    run = shutil.copytree(trained_run, tmp_path / "run")
    record = json.loads((run / "settings.json").read_text())
    assert record["settings"]["text_length"] < length
    lengths = {}
    for trained in (record["settings"]["text_length"], length + 8):
        record["settings"]["text_length"] = trained
        (run / "settings.json").write_text(json.dumps(record))
        model = PaliGemma2CausalLM.from_preset(run)
        keras_pg2.convert(run, tmp_path / f"{trained}", "preset")
        merged = PaliGemma2CausalLM.from_preset(tmp_path / f"{trained}")
        given = PaliGemma2CausalLM.from_preset(run, sequence_length=7)
        assert given.preprocessor.sequence_length == 7
        lengths[trained] = {
            each.preprocessor.sequence_length for each in (model, merged)
        }
    assert list(lengths.values()) == [{length}, {length + 8}]


def test_what_cannot_be_loaded(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected load_weights=True for"):
        PaliGemma2CausalLM.from_preset(trained_run, load_weights=False)
    with pytest.raises(ValueError, match="final_logit_soft_cap=None"):
        PaliGemma2CausalLM.from_preset(trained_run, final_logit_soft_cap=None)
    (tmp_path / "onnx.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run by keras_pg2\.deploy\.ONNXModel"):
        PaliGemma2CausalLM.from_preset(tmp_path)
    shutil.copytree(trained_run, tmp_path / "moved")
    record = tmp_path / "moved" / "settings.json"
    base = str(trained_run.parent / "base")
    record.write_text(record.read_text().replace(base, "/no/such/base"))
    with pytest.raises(ValueError, match=r"'/no/such/base' and 'base'.*--adapter"):
        PaliGemma2CausalLM.from_preset(tmp_path / "moved")
