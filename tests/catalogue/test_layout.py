"""The hub's layout of every released checkpoint, by names and shapes alone."""

from __future__ import annotations

import math

import pytest

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.names import PRESETS, Preset
from keras_pg2.conversion.huggingface.config import read_architecture, write_config
from keras_pg2.conversion.huggingface.weights import weight_rows


def hub_shapes(preset: Preset) -> dict[str, tuple[int, ...]]:
    """Names as in google/paligemma2-*, shapes from the papers' tables, by hand."""
    vision, text = preset.vision_encoder, preset.text_decoder
    width, inner = text["hidden_dim"], text["intermediate_dim"]
    queries = text["num_query_heads"] * text["head_dim"]
    keys = text["num_key_value_heads"] * text["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "language_model.model.embed_tokens.weight": (257216, width),
        "language_model.model.norm.weight": (width,),
        "multi_modal_projector.linear.weight": (width, 1152),
        "multi_modal_projector.linear.bias": (width,),
    }
    norms = ["input_layernorm", "post_attention_layernorm"]
    if preset.name.startswith("pali_gemma2"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for i in range(text["num_layers"]):
        layer = f"language_model.model.layers.{i}."
        shapes |= {f"{layer}{norm}.weight": (width,) for norm in norms}
        shapes[layer + "self_attn.q_proj.weight"] = (queries, width)
        shapes[layer + "self_attn.k_proj.weight"] = (keys, width)
        shapes[layer + "self_attn.v_proj.weight"] = (keys, width)
        shapes[layer + "self_attn.o_proj.weight"] = (width, queries)
        shapes[layer + "mlp.gate_proj.weight"] = (inner, width)
        shapes[layer + "mlp.up_proj.weight"] = (inner, width)
        shapes[layer + "mlp.down_proj.weight"] = (width, inner)
    tower = "vision_tower.vision_model."
    shapes[tower + "embeddings.patch_embedding.weight"] = (1152, 3, 14, 14)
    shapes[tower + "embeddings.patch_embedding.bias"] = (1152,)
    num_patches = (vision["image_size"] // 14) ** 2
    shapes[tower + "embeddings.position_embedding.weight"] = (num_patches, 1152)
    for i in range(27):
        layer = f"{tower}encoder.layers.{i}."
        for name, shape in {
            "self_attn.q_proj": (1152, 1152),
            "self_attn.k_proj": (1152, 1152),
            "self_attn.v_proj": (1152, 1152),
            "self_attn.out_proj": (1152, 1152),
            "mlp.fc1": (4304, 1152),
            "mlp.fc2": (1152, 4304),
        }.items():
            shapes[f"{layer}{name}.weight"] = shape
            shapes[f"{layer}{name}.bias"] = shape[:1]
        for norm in ("layer_norm1", "layer_norm2"):
            shapes[f"{layer}{norm}.weight"] = (1152,)
            shapes[f"{layer}{norm}.bias"] = (1152,)
    shapes[tower + "post_layernorm.weight"] = (1152,)
    shapes[tower + "post_layernorm.bias"] = (1152,)
    return shapes


@pytest.mark.parametrize("name", PRESETS)
def test_names_and_shapes_on_the_hub(name: str) -> None:
    preset = PRESETS[name]
    architecture = preset.architecture
    ours = variable_shapes(**architecture)
    table = {
        row.theirs: row.stored_shape(ours[row.ours])
        for row in weight_rows(**architecture)
    }
    assert table == hub_shapes(preset)
    # As Hugging Face counts: with 64 rows for <image> and padding.
    extra = 64 * preset.text_decoder["hidden_dim"]
    assert sum(map(math.prod, table.values())) == preset.num_parameters + extra
    assert read_architecture(write_config(architecture, "bfloat16")) == architecture
