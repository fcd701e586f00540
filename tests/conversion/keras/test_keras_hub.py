"""KerasHub's own presets, written by KerasHub, read by us."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import from_model
from keras_pg2.conversion.keras.keras_hub import (
    read_keras_hub_architecture,
    weight_rows,
)
from tests.support.keras_hub_copy import copy_to_keras_hub
from tests.support.loaded import load_backbone
from tests.support.released_kinds import KINDS, assert_same_weights
from tests.support.tiny_networks import random_backbone, random_inputs
from tests.support.tiny_vocabulary import gemma_like_proto

KERNEL = "layers/pali_gemma_decoder_block_1/attention/query_dense/vars/0"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard_gigabytes", [10, 0.00006])
@pytest.mark.every_backend
def test_weights_and_states(kind: str, shard_gigabytes: float, tmp_path: Path) -> None:
    # KerasHub scales by head_dim whatever it is told, and has a window in the prefix.
    architecture = {**KINDS[kind], "query_pre_attn_scalar": 8, "sliding_window": None}
    ours = random_backbone(**architecture)
    theirs = copy_to_keras_hub(ours)
    theirs.save_to_preset(str(tmp_path), max_shard_size=shard_gigabytes)
    assert (tmp_path / "model.weights.json").exists() == (shard_gigabytes < 1)
    assert_same_weights(open_checkpoint(tmp_path), from_model(ours))
    inputs = random_inputs([9, 5], num_responses=3)
    expected = ops.convert_to_numpy(theirs(inputs))
    hidden = ops.convert_to_numpy(load_backbone(tmp_path)(inputs))
    real = np.concatenate([np.ones((2, 4), bool), inputs["padding_mask"]], axis=1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(hidden[real] / scale, expected[real] / scale, atol=1e-5)


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    copy_to_keras_hub(random_backbone(**KINDS["3b"])).save_to_preset(str(tmp_path))
    return tmp_path


def change_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    content = json.loads(path.read_text())
    content["config"].update(changes)
    path.write_text(json.dumps(content))


def test_28b_is_scaled_as_its_configuration_says(preset: Path) -> None:
    change_config(preset, query_head_dim_normalize=False)
    checkpoint = open_checkpoint(preset)
    assert checkpoint.architecture["text_decoder"]["query_pre_attn_scalar"] == 24 // 4
    assert any("KerasHub 0.32 itself scales by 8" in note for note in checkpoint.notes)


def test_numbers_of_an_old_configuration() -> None:
    config = {
        "vocabulary_size": 257152,
        "image_size": 224,
        "num_layers": 18,
        "num_query_heads": 8,
        "num_key_value_heads": 1,
        "hidden_dim": 2048,
        "intermediate_dim": 32768,
        "head_dim": 256,
        "vit_patch_size": 14,
        "vit_num_heads": 16,
        "vit_hidden_dim": 1152,
        "vit_num_layers": 27,
    }
    architecture, notes = read_keras_hub_architecture({"config": config})
    assert architecture["text_decoder"]["intermediate_dim"] == 16384
    assert architecture["vision_encoder"]["intermediate_dim"] == 4304
    assert architecture["text_decoder"]["sliding_window"] is None
    assert not architecture["text_decoder"]["has_post_norms"]
    assert notes == ()
    assert len(weight_rows(**architecture)) == 2 + 1 + 27 * 16 + 2 + 2 + 1 + 18 * 9 + 1


def test_preprocessor(preset: Path) -> None:
    task = PaliGemma2CausalLM.from_preset(str(preset))
    assert task.preprocessor is None
    assets = preset / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    (assets / "vocabulary.spm").write_bytes(gemma_like_proto())
    converter = {"config": {"crop_to_aspect_ratio": True, "interpolation": "bilinear"}}
    (preset / "image_converter.json").write_text(json.dumps(converter))
    (preset / "preprocessor.json").write_text('{"config": {"sequence_length": 99}}')
    checkpoint = open_checkpoint(preset)
    assert checkpoint.preprocessing.sequence_length == 99
    assert checkpoint.preprocessing.interpolation == "bicubic"
    assert any("stretched" in note for note in checkpoint.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0.1}, r"dropout=0\.1"),
        ({"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon"),
        ({"use_post_ffw_norm": False}, "use_post_ffw_norm and use_post_attention"),
        ({"num_layers": 1}, "decoder_block_1"),
        ({"hidden_dim": 32}, "fit the network"),
    ],
)
def test_configuration_that_contradicts(
    changes: dict, message: str, preset: Path
) -> None:
    change_config(preset, **changes)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(preset)


def test_damaged_weights(preset: Path) -> None:
    path = preset / "model.weights.h5"
    with h5py.File(path, "r+") as file:
        file[KERNEL][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=f"NaN or infinity in {KERNEL}"):
        load_backbone(preset)
    with h5py.File(path, "r+") as file:
        del file[KERNEL]
        file["layers/extra/vars/0"] = np.zeros(3)
    with pytest.raises(ValueError, match=f"missing from the file: {KERNEL}") as error:
        load_backbone(preset)
    assert "layers/extra/vars/0" in str(error.value)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(OSError, match="truncated or damaged"):
        load_backbone(preset)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        load_backbone(preset)
