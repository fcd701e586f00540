"""gemma.cpp's .sbs files: matrices of bfloat16, float32 or 8-bit floats in one file.

Sources: gemma.cpp `gemma/tensor_info.cc` (names, layouts), `gemma/weights.cc` (which
tensors it joins or splits), `util/mat.h` (table of contents).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.released import text_length
from keras_pg2.conversion.gemma_cpp.blob_store import (
    ByteRange,
    read_blob,
    read_directory,
    writing_blobs,
)
from keras_pg2.conversion.gemma_cpp.config import (
    WEIGHT_TYPES,
    config_words,
    matrix_words,
    read_config,
    read_contents,
)
from keras_pg2.conversion.gemma_cpp.sfp import decode_sfp, encode_sfp
from keras_pg2.conversion.tables.blocks import Block, BlockSource, as_bytes
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.outgoing import Outgoing, outgoing_tensors
from keras_pg2.conversion.tables.transforms import (
    TRANSPOSE,
    Shape,
    Transform,
    flattened,
)
from keras_pg2.conversion.tables.weight_table import Part, Row, named_rows
from keras_pg2.typing import Advance

_affine = partial(named_rows, {"kernel": "_w", "bias": "_b"})
_norm = partial(named_rows, {"beta": "_bias", "gamma": "_scale"})

_SFP = WEIGHT_TYPES["sfp"]
_IN_FILE = {1: DTYPES["float32"], 2: DTYPES["bfloat16"], _SFP: np.dtype(np.uint8)}
_ALWAYS_FLOAT32 = ("img_pos_emb", "img_emb_bias", "img_head_bias")
_FLOAT32_IN_LAYERS = ("attn_out_b_", "qkv_ein_b_", "linear_0_b_", "linear_1_b_")
# Products that gemma.cpp computes from 8-bit matrices; the rest has at least 16 bits.
_COMPRESSED = ("qkv1_w_", "qkv2_w_", "att_w_", "gating1_w_", "gating2_w_", "linear_w_")


def open_gemma_cpp(path: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a .sbs file; with_weights=False does not look at its matrices.

    Raises:
        ValueError: when the file is cut off, or of another model, or of types of
            numbers other than F32, BF16 and SFP.
    """
    blobs = read_directory(path)
    missing = [name for name in ("config", "toc") if name not in blobs]
    if missing:
        raise ValueError(
            f"Expected the blobs config and toc in {path}. Received a file without "
            f"{' and '.join(missing)}: write it with a gemma.cpp of 2025 or newer."
        )
    architecture = read_config(read_blob(path, blobs["config"]), path)
    tokenizer = blobs.get("tokenizer")
    checkpoint = Checkpoint(
        format="sbs",
        path=path,
        architecture=architecture,
        preprocessing=Preprocessing(
            tokenizer=tokenizer and read_blob(path, tokenizer),
            sequence_length=text_length(architecture["vision_encoder"]["image_size"]),
        ),
    )
    if not with_weights:
        return checkpoint
    source = GemmaCppSource(path, blobs, architecture["text_decoder"])
    return checkpoint.with_weights(weight_rows(**architecture), source)


class GemmaCppSource(BlockSource):
    """The matrices of a .sbs file; joined ones under the names of their parts.

    Args:
        path: the file.
        blobs: Ranges of its blobs by name.
        text: Arguments of the decoder, which say where joined matrices are cut.

    Raises:
        ValueError: for other types of numbers, or a matrix that is not in the file.
    """

    def __init__(
        self, path: Path, blobs: Mapping[str, ByteRange], text: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self._text = text
        self._scales: dict[str, float] = {}
        for name, type_number, shape, scale in read_contents(
            read_blob(path, blobs["toc"])
        ):
            if type_number not in _IN_FILE:
                raise ValueError(
                    f"Expected matrices of types {', '.join(WEIGHT_TYPES)} in {path}. "
                    f"Received: type {type_number} for {name}. Write bf16 or sfp."
                )
            dtype = _IN_FILE[type_number]
            size = shape[0] * shape[1] * dtype.itemsize
            if name not in blobs or blobs[name].num_bytes != size:
                raise ValueError(
                    f"Expected {size} bytes of {name} in {path}, as its table of "
                    "contents says. Received: "
                    f"{blobs[name].num_bytes if name in blobs else 'none'}."
                )
            block = Block(
                path=path, offset=blobs[name].offset, shape=shape, dtype=dtype
            )
            for part, cut in self._cut(name, block).items():
                self._blocks[part] = cut
                self._scales[part] = scale

    def _cut(self, name: str, block: Block) -> dict[str, Block]:
        """Joined matrices are one below the other."""
        head_dim, width = self._text["head_dim"], self._text["hidden_dim"]
        kind, _, layer = name.rpartition("_")
        if kind == "qkv_ein":
            first = self._text["num_query_heads"] * head_dim
            names = (f"qkv1_w_{layer}", f"qkv2_w_{layer}")
        elif kind == "gating_ein":
            first = self._text["intermediate_dim"]
            names = (f"gating1_w_{layer}", f"gating2_w_{layer}")
        elif kind == "att_ein":
            heads = self._text["num_query_heads"]
            return {f"att_w_{layer}": block._replace(shape=(heads, width, head_dim))}
        else:
            return {name: block}
        rows, columns = block.shape
        offset = block.offset + first * columns * block.dtype.itemsize
        return {
            names[0]: block._replace(shape=(first, columns)),
            names[1]: block._replace(offset=offset, shape=(rows - first, columns)),
        }

    def shape(self, key: str) -> Shape:
        shape = self._blocks[key].shape
        if len(shape) == 3:  # att_ein
            return (shape[1], shape[0] * shape[2])
        # Vectors stand as matrices of one row or one column.
        is_vector = 1 in shape and not key.startswith(("img_pos_emb", "c_embedding"))
        return (max(shape),) if is_vector else shape

    def dtype(self, key: str) -> np.dtype:
        dtype = self._blocks[key].dtype
        return DTYPES["float32"] if dtype == np.uint8 else dtype

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        value = self._blocks[key].read()
        if value.dtype == np.uint8:
            value = decode_sfp(value, self._scales[key])
        elif self._scales[key] != 1:
            value = value * np.asarray(self._scales[key], value.dtype)
        if value.ndim == 3:
            value = value.transpose(1, 0, 2)
        value = value.reshape(self.shape(key))
        return value if part is None else part.take(value)


def write_gemma_cpp(
    checkpoint: Checkpoint, target: Path, dtype: str | None, advance: Advance
) -> None:
    """Writes a .sbs file as `formats.Writer` says, configuration and tokenizer inside.

    gemma.cpp runs PaliGemma 2 of 3B and 10B at 224 and 448 pixels. The file holds the
    others too, but gemma.cpp of 2025 has no 28B, no 896 pixels (its batches are at most
    4096 tokens) and no PaliGemma 1.

    The `dtype` is that of matrices and norms; None is "bfloat16", "sfp" too, with 8-bit
    floats for the decoder's matrices. Biases and the table of positions are float32
    always.

    Raises:
        ValueError: when there is no tokenizer, or gemma.cpp has no such network.
    """
    architecture, proto = checkpoint.architecture, checkpoint.preprocessing.tokenizer
    if proto is None:
        raise ValueError(
            "Expected a tokenizer, which is a part of a .sbs file. Received a "
            "checkpoint without. Pass tokenizer=paligemma_tokenizer.model."
        )
    dtype = dtype or "bfloat16"
    config = config_words(architecture, dtype)
    contents: list[int] = []
    with writing_blobs(target) as blobs:
        for tensor in outgoing_tensors(checkpoint, weight_rows(**architecture)):
            data, type_number, scale = _encode(tensor, dtype)
            shape = data.shape if data.ndim == 2 else (1, data.size)
            blobs.write(tensor.key, [as_bytes(data)])
            contents += matrix_words(
                tensor.key, type_number, data.dtype.itemsize, shape, scale
            )
            advance(data.nbytes)
        blobs.write("config", [_bytes(config)])
        blobs.write("tokenizer", [proto])
        blobs.write("toc", [_bytes(contents)])


def _bytes(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def _encode(tensor: Outgoing, dtype: str) -> tuple[np.ndarray, int, float]:
    """A tensor as its file has it, the number of its type, and its scale."""
    value = tensor.read()
    if dtype == "sfp" and tensor.key.startswith(_COMPRESSED):
        codes, scale = encode_sfp(value)
        return codes, _SFP, scale
    is_float32 = tensor.key in _ALWAYS_FLOAT32 or tensor.key.startswith(
        _FLOAT32_IN_LAYERS
    )
    name = "float32" if is_float32 or dtype == "float32" else "bfloat16"
    return cast(value, DTYPES[name], tensor.key), WEIGHT_TYPES[name], 1.0


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in gemma.cpp's layout."""
    patch_size, width = vision_encoder["patch_size"], vision_encoder["hidden_dim"]
    vision, image = "vision_encoder/", "img_"
    return [
        Row("text_decoder/token_embedding/embeddings", "c_embedding"),
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
