"""Runs and adapters as presets, for the task and for its parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM, PaliGemma2Tokenizer

PICTURE = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype("uint8")
ASKED = {"images": PICTURE, "prompts": "caption en"}


def answer(model: PaliGemma2CausalLM) -> str:
    return model.generate(ASKED, strip_prompt=True, max_new_tokens=8)


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
