"""The weight table of Hugging Face checkpoints, and the names they have gone by.

The table is written in the hub's layout. transformers has renamed modules since
and saves under other names; `hub_key` undoes the renaming, so there is one table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from keras_pg2.catalogue.released import NUM_EXTRA_ROWS
from keras_pg2.conversion.safetensors_files import SafetensorsSource
from keras_pg2.conversion.tables.blocks import RenamedSource
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.transforms import (
    CONV,
    TRANSPOSE,
    Transform,
    mean_row,
)
from keras_pg2.conversion.tables.weight_table import (
    Part,
    Row,
    TensorSource,
    expand_layers,
    named_rows,
)

TOKEN_TABLE = "language_model.model.embed_tokens.weight"
OUTPUT_TABLE = "language_model.lm_head.weight"
TEXT_LAYER = "language_model.model.layers.{}."
VISION = "vision_tower.vision_model."
_PATCHES = VISION + "embeddings.patch_embedding.weight"
_DOUBLE = "F64"

IGNORABLE = {
    re.escape(OUTPUT_TABLE): "tied to the token embedding",
    r".*\.position_ids": "a constant buffer of old transformers",
    r".*\.rotary_emb\.inv_freq": "a constant buffer of old transformers",
    r"vision_tower\.vision_model\.head\..*": "PaliGemma does not pool image tokens",
}

_affine = partial(named_rows, {"kernel": ".weight", "bias": ".bias"})
_norm = partial(named_rows, {"gamma": ".weight", "beta": ".bias"})

_RENAMED = (
    (r"^model\.", ""),
    # Saved again and again by transformers 5.10 to 5.23.
    (r"^language_model\.model\.model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^language_model\.(embed_tokens|layers|norm)\.", r"language_model.model.\1."),
    (r"^vision_tower\.(embeddings|encoder|post_layernorm|head)\.", VISION + r"\1."),
)


def hub_key(key: str) -> str:
    """The hub's name of a tensor: what any transformers version made of it, undone.

    Known layouts: the hub's own; `model.language_model.*` and `model.vision_tower.*`
    (transformers 4.52 on); `vision_tower.*` without `vision_model` (transformers 5).
    """
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


class HubSource(RenamedSource):
    """The tensors of a directory by their names on the hub, float64 as float32.

    Args:
        files: Tensors of the files.
        names: Name of each tensor in its file, by its name on the hub.
    """

    def __init__(self, files: SafetensorsSource, names: Mapping[str, str]) -> None:
        super().__init__(files, names)
        self._files = files

    def dtype(self, key: str) -> np.dtype:
        return DTYPES["float32"] if self._is_double(key) else super().dtype(key)

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        value = super().read(key, part)
        if not self._is_double(key):
            return value
        # Too large a number would become infinite.
        return cast(value.view("<f8"), DTYPES["float32"], self.names[key])

    def _is_double(self, key: str) -> bool:
        return self._files.type_name(self.names[key]) == _DOUBLE


def check_tied(source: RenamedSource, rows_at_once: int = 8192) -> None:
    """Raises ValueError when there is an output projection of its own."""
    if OUTPUT_TABLE not in source.names:
        return
    table_name, output_name = source.names[TOKEN_TABLE], source.names[OUTPUT_TABLE]
    shape = source.shape(TOKEN_TABLE)
    if source.shape(OUTPUT_TABLE) != shape:
        raise ValueError(
            f"Expected {output_name} to have the shape of {table_name}, {shape}. "
            f"Received: {source.shape(OUTPUT_TABLE)}."
        )
    table, output = source.read(TOKEN_TABLE), source.read(OUTPUT_TABLE)
    for start in range(0, shape[0], rows_at_once):
        rows = slice(start, start + rows_at_once)
        if not np.array_equal(table[rows], output[rows]):
            raise ValueError(
                f"Expected {output_name} to be equal to {table_name}, as PaliGemma's "
                "output projection is tied to its embedding. Received tables that "
                f"differ in rows from {start} on: this checkpoint was trained untied."
            )


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in the hub's layout."""
    return [
        *_vision_rows(vision_encoder["num_layers"]),
        *_affine("vision_projection", "multi_modal_projector.linear", TRANSPOSE),
        Row(
            "text_decoder/token_embedding/embeddings",
            TOKEN_TABLE,
            padded_table(text_decoder["vocabulary_size"]),
        ),
        *expand_layers(
            _text_layer(text_decoder["has_post_norms"]),
            text_decoder["num_layers"],
            "text_decoder/block_{}/",
            TEXT_LAYER,
        ),
        Row("text_decoder/final_norm/scale", "language_model.model.norm.weight"),
    ]


def stored_rows(rows: Iterable[Row], source: TensorSource) -> list[Row]:
    """Return the table as a file has it: MLX stores the channels of patches last."""
    shape = source.shape(_PATCHES) if _PATCHES in source.keys() else ()  # noqa: SIM118
    is_last = len(shape) == 4 and shape[3] == 3 != shape[1]
    return [
        row._replace(transform=_CHANNELS_LAST)
        if is_last and row.theirs == _PATCHES
        else row
        for row in rows
    ]


_CHANNELS_LAST = Transform(
    name="convolution of MLX",  # [out, height, width, in] <-> [height, width, in, out]
    forward=lambda x: np.transpose(x, (1, 2, 3, 0)),
    inverse=lambda x: np.transpose(x, (3, 0, 1, 2)),
    inverse_shape=lambda shape: (shape[3], *shape[:3]),
)


def padded_table(vocabulary_size: int) -> Transform:
    """Drops the rows of `<image>` and of padding; writes the mean row in their place.

    No text has these tokens. The released tables have random rows around the mean
    there (transformers `convert_paligemma2_weights_to_hf.py`); a row of zeros could
    win against all negative logits, the mean hardly can.
    """
    return Transform(
        name=f"first {vocabulary_size} rows",
        forward=lambda table: table[:vocabulary_size],
        inverse=lambda table: (table, np.tile(mean_row(table), (NUM_EXTRA_ROWS, 1))),
        inverse_shape=lambda shape: (vocabulary_size + NUM_EXTRA_ROWS, *shape[1:]),
    )


def _vision_rows(num_layers: int) -> list[Row]:
    layer = [
        *_norm("attention_norm", "layer_norm1"),
        *_affine("attention/query_dense", "self_attn.q_proj", TRANSPOSE),
        *_affine("attention/key_dense", "self_attn.k_proj", TRANSPOSE),
        *_affine("attention/value_dense", "self_attn.v_proj", TRANSPOSE),
        *_affine("attention/output_dense", "self_attn.out_proj", TRANSPOSE),
        *_norm("mlp_norm", "layer_norm2"),
        *_affine("mlp_up", "mlp.fc1", TRANSPOSE),
        *_affine("mlp_down", "mlp.fc2", TRANSPOSE),
    ]
    ours, theirs = "vision_encoder/", VISION
    return [
        *_affine(ours + "patch_embedding", theirs + "embeddings.patch_embedding", CONV),
        Row(
            ours + "position_embedding/embeddings",
            theirs + "embeddings.position_embedding.weight",
        ),
        *expand_layers(
            layer, num_layers, ours + "block_{}/", theirs + "encoder.layers.{}."
        ),
        *_norm(ours + "final_norm", theirs + "post_layernorm"),
    ]


def _text_layer(has_post_norms: bool) -> list[Row]:
    """One decoder layer.

    The trap in the names: `post_attention_layernorm` comes before the MLP in Gemma
    1, where no norm follows the attention, and after the attention in Gemma 2.
    """
    if has_post_norms:
        norms = [
            Row("post_attention_norm/scale", "post_attention_layernorm.weight"),
            Row("pre_mlp_norm/scale", "pre_feedforward_layernorm.weight"),
            Row("post_mlp_norm/scale", "post_feedforward_layernorm.weight"),
        ]
    else:
        norms = [Row("pre_mlp_norm/scale", "post_attention_layernorm.weight")]
    kernels = {
        "attention/query_dense": "self_attn.q_proj",
        "attention/key_dense": "self_attn.k_proj",
        "attention/value_dense": "self_attn.v_proj",
        "attention/output_dense": "self_attn.o_proj",
        "mlp/gate_dense": "mlp.gate_proj",
        "mlp/up_dense": "mlp.up_proj",
        "mlp/down_dense": "mlp.down_proj",
    }
    return [
        Row("pre_attention_norm/scale", "input_layernorm.weight"),
        *norms,
        *(
            Row(f"{ours}/kernel", f"{theirs}.weight", TRANSPOSE)
            for ours, theirs in kernels.items()
        ),
    ]
