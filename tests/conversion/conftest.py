"""A small Hugging Face directory in the hub's layout, made without transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

CONFIG = {
    "model_type": "paligemma",
    "image_token_index": 40,
    "projection_dim": 12,
    "text_config": {
        "model_type": "gemma2",
        "vocab_size": 48,
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "query_pre_attn_scalar": 3,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "image_size": 8,
        "patch_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "intermediate_size": 14,
    },
}

_TEXT_LAYER = {
    "input_layernorm.weight": (12,),
    "post_attention_layernorm.weight": (12,),
    "pre_feedforward_layernorm.weight": (12,),
    "post_feedforward_layernorm.weight": (12,),
    "self_attn.q_proj.weight": (16, 12),
    "self_attn.k_proj.weight": (8, 12),
    "self_attn.v_proj.weight": (8, 12),
    "self_attn.o_proj.weight": (12, 16),
    "mlp.gate_proj.weight": (20, 12),
    "mlp.up_proj.weight": (20, 12),
    "mlp.down_proj.weight": (12, 20),
}
_VISION_LAYER = {
    **{f"layer_norm{i}.{kind}": (8,) for i in (1, 2) for kind in ("weight", "bias")},
    **{f"self_attn.{name}.weight": (8, 8) for name in ("q_proj", "k_proj", "v_proj")},
    **{f"self_attn.{name}.bias": (8,) for name in ("q_proj", "k_proj", "v_proj")},
    "self_attn.out_proj.weight": (8, 8),
    "self_attn.out_proj.bias": (8,),
    "mlp.fc1.weight": (14, 8),
    "mlp.fc1.bias": (14,),
    "mlp.fc2.weight": (8, 14),
    "mlp.fc2.bias": (8,),
}
_VISION = "vision_tower.vision_model."
SHAPES = {
    "language_model.model.embed_tokens.weight": (48, 12),
    **{
        f"language_model.model.layers.{i}.{name}": shape
        for i in range(2)
        for name, shape in _TEXT_LAYER.items()
    },
    "language_model.model.norm.weight": (12,),
    "multi_modal_projector.linear.weight": (12, 8),
    "multi_modal_projector.linear.bias": (12,),
    _VISION + "embeddings.patch_embedding.weight": (8, 3, 4, 4),
    _VISION + "embeddings.patch_embedding.bias": (8,),
    _VISION + "embeddings.position_embedding.weight": (4, 8),
    **{f"{_VISION}encoder.layers.0.{k}": shape for k, shape in _VISION_LAYER.items()},
    _VISION + "post_layernorm.weight": (8,),
    _VISION + "post_layernorm.bias": (8,),
}

Tensors = dict[str, np.ndarray]


@pytest.fixture
def tensors() -> Tensors:
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=shape).astype("float32") for k, shape in SHAPES.items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a directory of given tensors, in one file or in shards."""

    def write_directory(
        tensors: Tensors, config: dict = CONFIG, num_shards: int = 1
    ) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        if num_shards == 1:
            save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
            return tmp_path
        weight_map = {}
        for i in range(num_shards):
            name = f"model-{i + 1:05d}-of-{num_shards:05d}.safetensors"
            part = dict(list(tensors.items())[i::num_shards])
            save_file(part, tmp_path / name, {"format": "pt"})
            weight_map.update(dict.fromkeys(part, name))
        index = {"metadata": {}, "weight_map": weight_map}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        return tmp_path

    return write_directory
