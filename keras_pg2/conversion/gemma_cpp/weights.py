"""The weight table of gemma.cpp's files.

Source: gemma.cpp `gemma/tensor_info.cc` (names, layouts).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from keras_pg2.conversion.tables.transforms import (
    TRANSPOSE,
    Transform,
    first_rows,
    flattened,
)
from keras_pg2.conversion.tables.weight_table import Part, Row, named_rows

EMBEDDING = "c_embedding"
_affine = partial(named_rows, {"kernel": "_w", "bias": "_b"})
_norm = partial(named_rows, {"beta": "_bias", "gamma": "_scale"})


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in gemma.cpp's layout."""
    patch_size, width = vision_encoder["patch_size"], vision_encoder["hidden_dim"]
    vision, image = "vision_encoder/", "img_"
    return [
        Row(
            "text_decoder/token_embedding/embeddings",
            EMBEDDING,
            first_rows(text_decoder["vocabulary_size"]),
        ),
        Row("text_decoder/final_norm/scale", "c_final_norm"),
        *_layers(
            _text_layer(text_decoder), text_decoder["num_layers"], "text_decoder/"
        ),
        Row(vision + "final_norm/beta", "enc_norm_bias"),
        Row(vision + "final_norm/gamma", "enc_norm_scale"),
        Row(vision + "patch_embedding/bias", image + "emb_bias"),
        Row(
            vision + "patch_embedding/kernel",
            image + "emb_kernel",
            _patches(patch_size, width),
        ),
        Row("vision_projection/bias", image + "head_bias"),
        Row("vision_projection/kernel", image + "head_kernel", TRANSPOSE),
        Row(vision + "position_embedding/embeddings", image + "pos_emb"),
        *_layers(_vision_layer(vision_encoder), vision_encoder["num_layers"], vision),
    ]


def _layers(layer: list[Row], count: int, ours: str) -> list[Row]:
    """gemma.cpp has the number of the layer at the end."""
    return [
        row._replace(ours=f"{ours}block_{i}/{row.ours}", theirs=f"{row.theirs}_{i}")
        for i in range(count)
        for row in layer
    ]


def _patches(patch_size: int, width: int) -> Transform:
    """[width, height * width * channels] <-> [height, width, channels, width]."""
    return Transform(
        name="patches",
        forward=lambda x: x.T.reshape(patch_size, patch_size, 3, width),
        inverse=lambda x: x.reshape(-1, width).T,
        inverse_shape=lambda shape: (width, 3 * patch_size**2),
    )


def _one_kind_of_heads(width: int, head_dim: int) -> Transform:
    """[heads, head_dim, inputs] of a joined matrix <-> [inputs, heads * head_dim]."""
    return Transform(
        name="heads of one kind",
        forward=lambda x: x.reshape(-1, width).T,
        inverse=lambda x: x.T.reshape(-1, head_dim, width),
        inverse_shape=lambda shape: (shape[1] // head_dim, head_dim, width),
    )


def _text_layer(architecture: Mapping[str, Any]) -> list[Row]:
    width, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    heads = architecture["num_key_value_heads"]
    joined = (2 * heads * head_dim, width)
    view = (heads, 2, head_dim, width)
    transform = _one_kind_of_heads(width, head_dim)
    post_norms = [
        Row("post_attention_norm/scale", "post_att_ns"),
        Row("post_mlp_norm/scale", "post_ff_ns"),
    ]
    return [
        Row("pre_attention_norm/scale", "pre_att_ns"),
        Row("attention/query_dense/kernel", "qkv1_w", TRANSPOSE),
        *(
            Row(
                f"attention/{name}_dense/kernel",
                "qkv2_w",
                transform,
                part=Part(joined, (slice(None), i), view),
            )
            for i, name in enumerate(("key", "value"))
        ),
        Row("attention/output_dense/kernel", "att_w", TRANSPOSE),
        Row("pre_mlp_norm/scale", "pre_ff_ns"),
        Row("mlp/gate_dense/kernel", "gating1_w", TRANSPOSE),
        Row("mlp/up_dense/kernel", "gating2_w", TRANSPOSE),
        Row("mlp/down_dense/kernel", "linear_w", TRANSPOSE),
        *(post_norms if architecture["has_post_norms"] else []),
    ]


def _vision_layer(architecture: Mapping[str, Any]) -> list[Row]:
    width, heads = architecture["hidden_dim"], architecture["num_heads"]
    head_dim = width // heads
    kernels, biases = (3 * width, width), (3 * heads, head_dim)
    of_kernel = _one_kind_of_heads(width, head_dim)
    of_bias = flattened(heads, head_dim)
    joined = []
    for i, name in enumerate(("query", "key", "value")):
        ours, index = f"attention/{name}_dense/", (slice(None), i)
        view = (heads, 3, head_dim)
        joined += [
            Row(
                ours + "kernel",
                "qkv_ein_w",
                of_kernel,
                part=Part(kernels, index, (*view, width)),
            ),
            Row(ours + "bias", "qkv_ein_b", of_bias, part=Part(biases, index, view)),
        ]
    return [
        *joined,
        *_affine("attention/output_dense", "attn_out", TRANSPOSE),
        *_affine("mlp_up", "linear_0", TRANSPOSE),
        *_affine("mlp_down", "linear_1", TRANSPOSE),
        *_norm("attention_norm", "ln_0"),
        *_norm("mlp_norm", "ln_1"),
    ]
