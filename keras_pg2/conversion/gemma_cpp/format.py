"""gemma.cpp's .sbs files: matrices of bfloat16, float32 or 8-bit floats in one file.

Sources: gemma.cpp `gemma/weights.cc` (which tensors it joins or splits), `util/mat.h`
(table of contents).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.released import text_length
from keras_pg2.checks.texts import printable
from keras_pg2.conversion.gemma_cpp.blob_store import (
    ByteRange,
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
from keras_pg2.conversion.gemma_cpp.vocabulary import (
    find_end_tokens,
    pad_table,
    read_vocabulary,
    with_padding,
    without_padding,
)
from keras_pg2.conversion.gemma_cpp.weights import EMBEDDING, weight_rows
from keras_pg2.conversion.tables.blocks import Block, BlockSource, as_bytes
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.number_types import DTYPES, cast
from keras_pg2.conversion.tables.outgoing import Outgoing, outgoing_tensors
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part
from keras_pg2.files.opened_files import OpenedFile
from keras_pg2.typing import Advance

_SFP = WEIGHT_TYPES["sfp"]
_IN_FILE = {1: DTYPES["float32"], 2: DTYPES["bfloat16"], _SFP: np.dtype(np.uint8)}
_MAX_BYTES = {"config": 1_000_000, "toc": 10_000_000, "tokenizer": 100_000_000}
_ALWAYS_FLOAT32 = ("img_pos_emb", "img_emb_bias", "img_head_bias")
_FLOAT32_IN_LAYERS = ("attn_out_b_", "qkv_ein_b_", "linear_0_b_", "linear_1_b_")
# Products that gemma.cpp computes from 8-bit matrices; the rest has at least 16 bits.
_COMPRESSED = ("qkv1_w_", "qkv2_w_", "att_w_", "gating1_w_", "gating2_w_", "linear_w_")


def open_gemma_cpp(path: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a .sbs file; with_weights=False does not look at its matrices.

    Raises:
        OSError: when it is no file, or changes meanwhile.
        ValueError: when the file is damaged, or of another model, or of types of
            numbers other than F32, BF16 and SFP.
    """
    file = OpenedFile(path)
    blobs = read_directory(file)
    missing = [name for name in ("config", "toc") if name not in blobs]
    if missing:
        raise ValueError(
            f"Expected the blobs config and toc in {path}. Received a file without "
            f"{' and '.join(missing)}: write it with a gemma.cpp of 2025 or newer."
        )
    architecture = read_config(_read_blob(file, blobs, "config"), path)
    proto = _read_blob(file, blobs, "tokenizer") if "tokenizer" in blobs else None
    architecture, notes = without_padding(architecture, proto, path)
    checkpoint = Checkpoint(
        format="sbs",
        path=path,
        architecture=architecture,
        preprocessing=Preprocessing(
            tokenizer=proto,
            sequence_length=text_length(architecture["vision_encoder"]["image_size"]),
        ),
        notes=notes,
    )
    if not with_weights:
        return checkpoint
    source = GemmaCppSource(file, blobs, architecture["text_decoder"])
    return checkpoint.with_weights(weight_rows(**architecture), source)


def _read_blob(file: OpenedFile, blobs: Mapping[str, ByteRange], name: str) -> bytes:
    offset, num_bytes = blobs[name]
    if num_bytes > _MAX_BYTES[name]:
        raise ValueError(
            f"Expected at most {_MAX_BYTES[name]:,} bytes of {name} in {file.path}. "
            f"Received: {num_bytes:,}."
        )
    return file.read(offset, num_bytes)


class GemmaCppSource(BlockSource):
    """The matrices of a .sbs file; joined ones under the names of their parts.

    Args:
        file: the file.
        blobs: Ranges of its blobs by name.
        text: Arguments of the decoder, which say where joined matrices are cut.

    Raises:
        ValueError: for other types of numbers, an invalid scale, or a matrix that
            is not in the file or there twice.
    """

    def __init__(
        self, file: OpenedFile, blobs: Mapping[str, ByteRange], text: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self._text = text
        self._scales: dict[str, float] = {}
        path = file.path
        for name, type_number, shape, scale in read_contents(
            _read_blob(file, blobs, "toc"), path
        ):
            shown = printable(name)
            if type_number not in _IN_FILE:
                raise ValueError(
                    f"Expected matrices of types {', '.join(WEIGHT_TYPES)} in {path}. "
                    f"Received: type {type_number} for {shown}. Write bf16 or sfp."
                )
            dtype = _IN_FILE[type_number]
            size = shape[0] * shape[1] * dtype.itemsize
            if name not in blobs or blobs[name].num_bytes != size:
                raise ValueError(
                    f"Expected {size} bytes of {shown} in {path}, as its table of "
                    "contents says. Received: "
                    f"{blobs[name].num_bytes if name in blobs else 'none'}."
                )
            if not (math.isfinite(scale) and scale > 0):
                raise ValueError(
                    f"Expected a scale above 0 of {shown} in {path}. Received: {scale}."
                )
            block = Block(file, blobs[name].offset, shape, dtype)
            for part, cut in self._cut(name, block).items():
                if part in self._blocks:
                    raise ValueError(
                        f"Expected each matrix once in {path}. "
                        f"Received: {printable(part)} twice."
                    )
                if not cut.offset <= cut.end <= block.end or min(cut.shape) < 1:
                    raise ValueError(
                        f"Expected {shown} in {path} of the rows that the "
                        f"configuration says. Received: {shape}."
                    )
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

    def stored_type(self, key: str) -> str:
        dtype = self._blocks[key].dtype
        return "sfp" if dtype == np.uint8 else str(dtype)

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

    gemma.cpp has PaliGemma 2 of 3B and 10B at 224 and 448 pixels. The file holds the
    others too, but gemma.cpp of 2025 has no 28B, no 896 pixels (its batches are at most
    4096 tokens) and no PaliGemma 1. It wants tables of a multiple of 16 or 32 rows, by
    the processor: other vocabularies are padded to one of 64, with a warning.

    The `dtype` is that of matrices and norms; None is "bfloat16", "sfp" too, with 8-bit
    floats for the decoder's matrices. Biases and the table of positions are float32
    always.

    Raises:
        ValueError: when there is no tokenizer of SentencePiece, or gemma.cpp has no
            such network.
    """
    architecture, proto = checkpoint.architecture, checkpoint.preprocessing.tokenizer
    if proto is None:
        raise ValueError(
            "Expected a tokenizer, which is a part of a .sbs file. Received a "
            "checkpoint without. Pass tokenizer=paligemma_tokenizer.model."
        )
    dtype = dtype or "bfloat16"
    end_tokens = find_end_tokens(read_vocabulary(proto, "the tokenizer of a .sbs file"))
    config = config_words(with_padding(architecture), dtype, end_tokens)
    contents: list[int] = []
    with writing_blobs(target) as blobs:
        for tensor in outgoing_tensors(checkpoint, weight_rows(**architecture)):
            data, type_number, scale = _encode(tensor, dtype)
            if tensor.key == EMBEDDING:
                data = pad_table(data)
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
