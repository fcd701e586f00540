from __future__ import annotations

from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.one_program import apply
from tests.support.tiny_networks import (
    TEXT_DECODER,
    VISION_ENCODER,
    random_backbone,
    random_inputs,
)


def run(backbone: PaliGemma2Backbone, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(apply(backbone, inputs), "float32"))


def with_images(inputs: dict[str, np.ndarray], images: np.ndarray) -> dict:
    return {**inputs, "images": images.astype("float32")}


def test_sizes(backbone: PaliGemma2Backbone) -> None:
    assert backbone.image_size == 28
    assert backbone.num_image_tokens == 4
    assert backbone.vocabulary_size == 60
    assert run(backbone, random_inputs([5, 3])).shape == (2, 4 + 5, 24)


def test_one_image_with_or_without_its_axis(backbone: PaliGemma2Backbone) -> None:
    inputs = random_inputs([5, 3])
    np.testing.assert_array_equal(
        run(backbone, inputs),
        run(backbone, with_images(inputs, inputs["images"][:, None])),
    )


def test_several_images_are_in_order(backbone: PaliGemma2Backbone) -> None:
    inputs = random_inputs([5, 5])
    images = np.random.default_rng(1).uniform(-1, 1, (2, 3, 28, 28, 3))
    hidden = run(backbone, with_images(inputs, images))
    assert hidden.shape == (2, 3 * 4 + 5, 24)
    swapped = run(backbone, with_images(inputs, images[:, [1, 0, 2]]))
    assert np.abs(hidden - swapped).max() > 0.1


def test_text_alone(backbone: PaliGemma2Backbone) -> None:
    inputs = random_inputs([5, 3])
    no_images = with_images(inputs, np.zeros((2, 0, 28, 28, 3)))
    hidden = run(backbone, no_images)
    assert hidden.shape == (2, 5, 24)
    assert np.isfinite(hidden).all()


def test_padding_and_other_rows_change_nothing(backbone: PaliGemma2Backbone) -> None:
    inputs = random_inputs([9, 4], num_responses=2)
    together = run(backbone, inputs)
    for row, length in enumerate([9, 4]):
        alone = {k: v[row : row + 1] for k, v in inputs.items()}
        for name in ("token_ids", "padding_mask", "response_mask"):
            alone[name] = alone[name][:, :length]
        np.testing.assert_allclose(
            together[row, : 4 + length], run(backbone, alone)[0], atol=2e-4
        )


def test_prompt_sees_ahead_and_response_does_not(backbone: PaliGemma2Backbone) -> None:
    inputs = random_inputs([8], num_responses=3)
    hidden = run(backbone, inputs)
    changed = {**inputs, "token_ids": inputs["token_ids"].copy()}
    changed["token_ids"][0, -1] += 1
    np.testing.assert_array_equal(run(backbone, changed)[:, :-1], hidden[:, :-1])
    changed["token_ids"] = inputs["token_ids"].copy()
    changed["token_ids"][0, 4] += 1  # the last token of the prompt
    assert (np.abs(run(backbone, changed) - hidden).max(axis=-1) > 1e-3).all()


def test_config_rebuilds_the_backbone() -> None:
    backbone = random_backbone(sliding_window=None, final_logit_soft_cap=None)
    config = backbone.get_config()
    assert set(config["text_decoder"]) >= set(TEXT_DECODER)
    assert config["vision_encoder"] == VISION_ENCODER
    again = PaliGemma2Backbone.from_config(config)
    assert again.get_config() == config
    again.set_weights(backbone.get_weights())
    inputs = random_inputs([5, 3])
    np.testing.assert_array_equal(run(again, inputs), run(backbone, inputs))


@pytest.mark.parametrize("reader", [PaliGemma2Backbone, keras_hub.models.Backbone])
def test_preset_round_trip(reader: type, tmp_path: Path) -> None:
    backbone = random_backbone(has_post_norms=False)
    backbone.save_to_preset(str(tmp_path))
    again = reader.from_preset(str(tmp_path))
    assert isinstance(again, PaliGemma2Backbone)
    inputs = random_inputs([5, 3])
    np.testing.assert_array_equal(run(again, inputs), run(backbone, inputs))


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_lower_precision_predicts_the_same_tokens(dtype: str) -> None:
    exact = random_backbone()
    rounded = PaliGemma2Backbone(VISION_ENCODER, TEXT_DECODER, dtype=dtype)
    rounded.set_weights([ops.convert_to_numpy(w) for w in exact.weights])
    assert rounded.compute_dtype == "bfloat16"
    variable_dtype = "float32" if dtype.startswith("mixed") else "bfloat16"
    assert {w.dtype for w in rounded.weights} == {variable_dtype}
    inputs = random_inputs([12, 12, 12], num_responses=6)
    hidden = apply(rounded, inputs)
    assert keras.backend.standardize_dtype(hidden.dtype) == "bfloat16"
    logits = rounded.project_to_vocabulary(hidden)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    expected = exact.project_to_vocabulary(apply(exact, inputs))
    agreement = ops.convert_to_numpy(ops.argmax(logits, -1) == ops.argmax(expected, -1))
    assert agreement.mean() > 0.9


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        ({}, {"num_heads": 3}, "num_heads"),
        ({"depth": 3}, {}, "depth"),
        ({}, {"num_layer": 3}, r"Did you mean num_layers\?"),
        ({}, {"hidden_dim": 2**31}, "Expected hidden_dim as a whole number"),
    ],
)
def test_unknown_numbers(vision: dict, text: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        PaliGemma2Backbone({**VISION_ENCODER, **vision}, {**TEXT_DECODER, **text})


def test_missing_numbers() -> None:
    with pytest.raises(TypeError, match="image_size"):
        PaliGemma2Backbone({}, TEXT_DECODER)


def test_architecture_makes_the_same_network() -> None:
    backbone = random_backbone()
    architecture = backbone.architecture
    assert architecture["vision_encoder"] == VISION_ENCODER
    assert TEXT_DECODER.items() <= architecture["text_decoder"].items()
    assert PaliGemma2Backbone(**architecture).architecture == architecture


def test_layers_and_variables_are_found_by_path() -> None:
    backbone = random_backbone()
    block = backbone.text_decoder.blocks[1]
    assert backbone.find("text_decoder/block_1") is block
    bias = backbone.vision_projection.bias
    assert backbone.find("vision_projection/bias") is bias
    for path in ("text_decoder/final_nrom", "__class__", "call", "image_size"):
        with pytest.raises(ValueError, match=path.rpartition("/")[2]):
            backbone.find(path)
