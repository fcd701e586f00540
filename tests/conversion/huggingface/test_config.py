"""Numbers of a `config.json`; transformers' own reading of it is the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PaliGemmaConfig

from keras_pg2.catalogue.names import PRESETS
from keras_pg2.conversion.huggingface.config import read_architecture, write_config

VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "num_image_tokens": 256,
    "projection_dim": 2304,
    "vision_use_head": False,
}


def config(text: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "model_type": "paligemma",
        "image_token_index": 257152,
        "text_config": text,
        "vision_config": VISION,
        **changes,
    }


def test_config_of_pali_gemma_1_on_the_hub() -> None:
    text = {
        "model_type": "gemma",
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_attention_heads": 8,
        "num_hidden_layers": 18,
        "num_image_tokens": 256,
        "num_key_value_heads": 1,
        "vocab_size": 257216,
    }
    preset = PRESETS["pali_gemma_3b_224"]
    architecture = read_architecture(config(text))
    assert architecture["vision_encoder"] == preset.vision_encoder
    assert architecture["text_decoder"] == preset.text_decoder


@pytest.mark.parametrize("image_size", [224, 896])
def test_config_of_28b(image_size: int) -> None:
    text = {
        "model_type": "gemma2",
        "hidden_size": 4608,
        "intermediate_size": 36864,
        "num_attention_heads": 32,
        "num_hidden_layers": 46,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "query_pre_attn_scalar": 144,
        "vocab_size": 257216,
    }
    preset = PRESETS[f"pali_gemma2_pt_28b_{image_size}"]
    vision = {**VISION, "image_size": image_size}
    architecture = read_architecture(config(text, vision_config=vision))
    assert architecture["vision_encoder"] == preset.vision_encoder
    assert architecture["text_decoder"] == preset.text_decoder


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"text_config": {}, "vision_config": {}},
        {"text_config": {"hidden_size": 64}},
        {"text_config": {"model_type": "gemma2"}, "vision_config": {"hidden_size": 96}},
        {"text_config": {"model_type": "gemma2", "final_logit_softcapping": None}},
        {"text_config": {"model_type": "gemma2", "sliding_window": None}},
        {"text_config": {"model_type": "gemma2", "head_dim": 128, "sliding_window": 8}},
    ],
    ids=str,
)
def test_missing_fields_are_what_transformers_takes(given: dict[str, Any]) -> None:
    theirs = PaliGemmaConfig.from_dict({"model_type": "paligemma", **given})
    architecture = read_architecture({"model_type": "paligemma", **given})
    text, vision = theirs.text_config, theirs.vision_config
    assert architecture["vision_encoder"] == {
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "num_layers": vision.num_hidden_layers,
        "num_heads": vision.num_attention_heads,
        "hidden_dim": vision.hidden_size,
        "intermediate_dim": vision.intermediate_size,
    }
    is_second = text.model_type == "gemma2"
    expected = {
        "num_layers": text.num_hidden_layers,
        "num_query_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "head_dim": text.head_dim,
        "hidden_dim": text.hidden_size,
        "intermediate_dim": text.intermediate_size,
        "query_pre_attn_scalar": getattr(text, "query_pre_attn_scalar", text.head_dim),
        "attention_logit_soft_cap": getattr(text, "attn_logit_softcapping", None),
        "final_logit_soft_cap": getattr(text, "final_logit_softcapping", None),
        "sliding_window": getattr(text, "sliding_window", None),
        "has_post_norms": is_second,
    }
    assert {k: architecture["text_decoder"][k] for k in expected} == expected


def test_numbers_are_written_in_the_kinds_that_transformers_takes() -> None:
    """It refuses 50 as a soft cap, and 256.0 as a scale."""
    architecture = PRESETS["pali_gemma2_pt_3b_224"].architecture
    changed = {
        "attention_logit_soft_cap": 50,
        "final_logit_soft_cap": 30,
        "query_pre_attn_scalar": 256.0,
    }
    text = {**architecture["text_decoder"], **changed}
    written = write_config({**architecture, "text_decoder": text}, "float32")
    theirs = PaliGemmaConfig.from_dict(written).text_config
    assert theirs.attn_logit_softcapping == 50
    assert theirs.final_logit_softcapping == 30
    assert theirs.query_pre_attn_scalar == 256


@pytest.mark.parametrize(
    ("num_rows", "image_token", "expected"),
    [
        (257216, 257152, 257152),
        (257152, 257152, 257152),
        # transformers' default would cut location tokens off: keep all rows.
        (257216, 256000, 257216),
        # Rows beyond the released table are tokens a user added: keep them.
        (257300, 257152, 257300),
    ],
)
def test_vocabulary_size(num_rows: int, image_token: int, expected: int) -> None:
    text = {"model_type": "gemma2", "vocab_size": num_rows}
    architecture = read_architecture(config(text, image_token_index=image_token))
    assert architecture["text_decoder"]["vocabulary_size"] == expected


@pytest.mark.parametrize(
    ("types", "window"),
    [
        (["full_attention"] * 3, None),
        (["sliding_attention", "full_attention", "sliding_attention"], 16),
    ],
)
def test_layer_types(types: list[str], window: int | None) -> None:
    text = {
        "model_type": "gemma2",
        "num_hidden_layers": 3,
        "sliding_window": 16,
        "layer_types": types,
    }
    assert read_architecture(config(text))["text_decoder"]["sliding_window"] == window


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llava"}, "Received model_type 'llava'"),
        ({"model_type": None}, "Received model_type null"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"text_config": {"model_type": "gemma3_text"}}, "'gemma3_text'"),
        ({"vision_config": {"model_type": "clip_vision_model"}}, "clip_vision_model"),
        ({"text_config": {"rms_norm_eps": 1e-5}}, "rms_norm_eps=1e-05"),
        ({"text_config": {"rope_parameters": {"rope_theta": 5e5}}}, "rope_theta=5"),
        ({"vision_config": {"hidden_act": "gelu"}}, "hidden_act='gelu'"),
        (
            {
                "text_config": {
                    "model_type": "gemma2",
                    "num_hidden_layers": 2,
                    "layer_types": ["full_attention", "sliding_attention"],
                }
            },
            "layer_types in config.json to alternate",
        ),
    ],
)
def test_another_model(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_architecture(config({}, **changes))
