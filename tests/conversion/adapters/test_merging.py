"""Adapters merged from file to file, beside merging in memory and then writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion import convert, write_model
from keras_pg2.conversion.adapters.opening import with_adapter
from keras_pg2.conversion.formats import open_checkpoint
from tests.support.tiny_models import random_task


@pytest.fixture(scope="module")
def base(trained_run: Path) -> Path:
    return trained_run.parent / "base"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensors_are_those_of_merging_in_python(dtype, trained_run, base, tmp_path):
    model = PaliGemma2CausalLM.from_preset(base, dtype="float32")
    model.adapters.load(trained_run)
    model.adapters.merge()
    write_model(model, tmp_path / "python", "hf", dtype)
    convert(trained_run, tmp_path / "files", "hf", dtype)
    convert(base, tmp_path / "beside", "hf", dtype, adapters=[trained_run])
    convert(base, tmp_path / "base", "hf", dtype)
    expected, files, beside, plain = (
        load_file(tmp_path / name / "model.safetensors")
        for name in ("python", "files", "beside", "base")
    )
    assert expected.keys() == files.keys() == beside.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(files[key], value, key)
        np.testing.assert_array_equal(beside[key], value, key)
    changed = [key for key in expected if not np.array_equal(expected[key], plain[key])]
    assert len(changed) == 4
    assert all("q_proj" in key or "v_proj" in key for key in changed)


def test_each_format_has_the_merged_weights(trained_run, tmp_path):
    model = PaliGemma2CausalLM.from_preset(trained_run, dtype="float32")
    model.adapters.merge()
    for to, name in (("preset", "preset"), ("npz", "model.npz")):
        convert(trained_run, tmp_path / name, to)
        written = PaliGemma2CausalLM.from_preset(tmp_path / name, dtype="float32")
        for ours, theirs in zip(model.backbone.weights, written.backbone.weights):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), ours.path)


def test_other_bases_are_refused(trained_run, tmp_path):
    adapter = trained_run / "adapter.safetensors"
    other = random_task(seed=1)
    other.save_to_preset(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other norms and biases, other ker"):
        convert(tmp_path / "other", tmp_path / "x", "hf", adapters=[adapter])
    random_task(intermediate_dim=32).save_to_preset(tmp_path / "narrow")
    with pytest.raises(ValueError, match="intermediate_dim=32"):
        with_adapter(open_checkpoint(tmp_path / "narrow"), adapter)
    assert not (tmp_path / "x").exists()


# Keras 3.15 says so of inputs and norms.
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_quantized_preset_is_refused(trained_run, tmp_path):
    model = random_task()
    model.quantize("int8")
    model.save_to_preset(tmp_path / "int8")
    with pytest.raises(ValueError, match="Expected kernels of floats"):
        with_adapter(
            open_checkpoint(tmp_path / "int8"), trained_run / "adapter.safetensors"
        )
