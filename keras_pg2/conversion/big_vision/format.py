"""big_vision's checkpoints: a .npz with the layers of a kind stacked into one array.

Sources: big_vision `models/vit.py`, `models/ppp/gemma.py`; the keys are those of
`paligemma2-3b-pt-224.b16.npz`, all under `params/`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.architecture import (
    num_image_tokens,
    override_architecture,
    read_architecture,
)
from keras_pg2.catalogue.released import PRESETS, text_length
from keras_pg2.checks.architecture import check_part
from keras_pg2.checks.vocabularies import read_vocabulary
from keras_pg2.conversion.big_vision.npz_files import NpzSource, write_npz
from keras_pg2.conversion.tables.blocks import RenamedSource
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.outgoing import Outgoing, outgoing_tensors
from keras_pg2.conversion.tables.transforms import (
    IDENTITY,
    Shape,
    Transform,
    flattened,
    heads_first,
    heads_last,
)
from keras_pg2.conversion.tables.weight_table import Part, Row, named_rows, shorten
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.named_files import file_inside
from keras_pg2.typing import Advance, Architecture

ARCHITECTURE_KEY = "keras_pg2/numbers"
"""An array of UTF-8 JSON: the architecture, where the shapes do not tell it."""

_PREFIX = "params/"
_PARTS = ("params", "img", "llm")
"""What keys of parameters begin with; the prefix is left out in some files."""
_MAX_LAYERS = 1000
_MAX_NOTE_BYTES = 100_000

_TOKENIZERS = ("paligemma_tokenizer.model", "tokenizer.model")
_VIT = "params/img/Transformer/encoderblock/"
_LLM = "params/llm/layers/"

_pair = partial(named_rows, {"kernel": "/kernel", "bias": "/bias"})
_norm = partial(named_rows, {"gamma": "/scale", "beta": "/bias"})


def open_big_vision(
    path: Path,
    tokenizer: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    with_weights: bool = True,
) -> Checkpoint:
    """Opens a .npz of big_vision as `open_checkpoint`.

    The shapes tell all sizes. Soft caps, window and query scale are those of the
    released decoder of these sizes; of other sizes, 50, 30, 4096 and head_dim with
    post-norms, and none and head_dim without.

    Raises:
        FileNotFoundError: when `tokenizer` is no file.
        ValueError: when the file is damaged or holds no PaliGemma.
    """
    file = NpzSource(path, _is_weight)
    source = _with_prefix(file)
    is_noted = ARCHITECTURE_KEY in source.names
    found = (
        _read_note(source, path)
        if is_noted
        else infer_architecture({key: source.shape(key) for key in source.names}, path)
    )
    architecture = override_architecture(found, **(overrides or {}))
    notes = _note_of_others(file.others)
    if not is_noted and architecture["text_decoder"]["has_post_norms"]:
        notes.append(
            "the file tells no soft caps and no window: those of the released models "
            "are taken (big_vision itself has no window: sliding_window=None)"
        )
    proto = _read_tokenizer(path, tokenizer)
    if proto is None:
        notes.append(
            f"there is no {' or '.join(_TOKENIZERS)} beside the file, so pictures and "
            "text have no preprocessor; pass tokenizer="
        )
    length = text_length(architecture["vision_encoder"]["image_size"])
    checkpoint = Checkpoint(
        format="npz",
        path=path,
        architecture=architecture,
        preprocessing=Preprocessing(tokenizer=proto, sequence_length=length),
        notes=tuple(notes),
    )
    if not with_weights:
        return checkpoint
    ignorable = {re.escape(ARCHITECTURE_KEY): "the architecture, no weights"}
    return checkpoint.with_weights(weight_rows(**architecture), source, ignorable)


def _is_weight(key: str) -> bool:
    """Return whether an array is of the model; others are of its training."""
    return key.partition("/")[0] in _PARTS or key == ARCHITECTURE_KEY


def _read_note(source: RenamedSource, path: Path) -> Architecture:
    name = f"{ARCHITECTURE_KEY} of {path}"
    shape = source.shape(ARCHITECTURE_KEY)
    if len(shape) != 1 or source.dtype(ARCHITECTURE_KEY) != np.uint8:
        raise ValueError(f"Expected bytes in {name}. Received: an array of {shape}.")
    if shape[0] > _MAX_NOTE_BYTES:
        raise ValueError(
            f"Expected at most {_MAX_NOTE_BYTES:,} bytes in {name}. Received: "
            f"{shape[0]:,}."
        )
    return read_architecture(
        Fields.parse(source.read(ARCHITECTURE_KEY).tobytes(), name)
    )


def _with_prefix(source: NpzSource) -> RenamedSource:
    """Give all keys the `params/` in front that some files leave out.

    Raises:
        ValueError: if an array is there with and without it.
    """
    names: dict[str, str] = {}
    for key in source.keys():  # noqa: SIM118 (no mapping)
        has_prefix = key.startswith(_PREFIX) or key == ARCHITECTURE_KEY
        name = key if has_prefix else _PREFIX + key
        if name in names:
            raise ValueError(
                f"Expected each array once in {source.path}. Received: {names[name]} "
                f"and {key}. Remove one of them."
            )
        names[name] = key
    return RenamedSource(source, names)


def _note_of_others(names: Sequence[str]) -> list[str]:
    """Return a note of the arrays that are no parameters, by what they begin with."""
    counts = Counter(name.partition("/")[0] for name in names)
    listed = [f"{shorten(name)} ({n})" for name, n in counts.most_common(8)]
    if not listed:
        return []
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return [
        "arrays that are no parameters are left out, as the state of an optimizer: "
        f"{', '.join(listed)}{more}"
    ]


def _read_tokenizer(path: Path, tokenizer: Path | None) -> bytes | None:
    if tokenizer is not None:
        if not tokenizer.is_file():
            raise FileNotFoundError(
                f"Expected a SentencePiece file at {tokenizer}, where none is. Pass "
                "paligemma_tokenizer.model."
            )
        return read_vocabulary(tokenizer)
    beside = [path.with_name(name) for name in _TOKENIZERS]
    found = [file for file in beside if file.is_file()]
    if not found:
        return None
    return read_vocabulary(file_inside(path.parent, found[0].name))


def infer_architecture(shapes: Mapping[str, Shape], path: Path) -> Architecture:
    """Read the architecture of a network from the shapes of its arrays.

    Raises:
        ValueError: naming arrays that are missing or of another shape.
    """
    ranks = {
        "params/img/embedding/kernel": 4,
        "params/img/pos_embedding": 3,
        _VIT + "MultiHeadDotProductAttention_0/query/kernel": 4,
        _VIT + "MlpBlock_0/Dense_0/kernel": 3,
        "params/llm/embedder/input_embedding": 2,
        _LLM + "attn/q_einsum/w": 4,
        _LLM + "attn/kv_einsum/w": 5,
        _LLM + "mlp/linear": 3,
    }
    wrong = [
        key
        for key, rank in ranks.items()
        if len(shapes.get(key, ())) != rank
        or 0 in shapes[key]
        or (shapes[key][0] > _MAX_LAYERS and key.startswith((_VIT, _LLM)))
    ]
    if wrong:
        raise ValueError(
            f"Expected the arrays of a PaliGemma in {path}. Missing, or of a shape "
            f"that none has: {', '.join(wrong)}. Pass a .npz of big_vision's PaliGemma."
        )
    patches, positions, heads, mlp, table, queries, keys, linear = map(
        shapes.__getitem__, ranks
    )
    vision = {
        "image_size": round(positions[1] ** 0.5) * patches[0],
        "patch_size": patches[0],
        "num_layers": heads[0],
        "num_heads": heads[2],
        "hidden_dim": patches[3],
        "intermediate_dim": mlp[2],
    }
    num_layers, num_heads, width, head_dim = queries
    text = {
        "vocabulary_size": table[0],
        "num_layers": num_layers,
        "num_query_heads": num_heads,
        "num_key_value_heads": keys[2],
        "head_dim": head_dim,
        "hidden_dim": width,
        "intermediate_dim": linear[1],
    }
    has_post_norms = _LLM + "post_attention_norm/scale" in shapes
    architecture = {
        "vision_encoder": vision,
        "text_decoder": _complete(text, has_post_norms),
    }
    for part, numbers in architecture.items():
        check_part(part, numbers, partial(_misfit, path, numbers))
    return architecture


def _misfit(
    path: Path, numbers: Mapping[str, Any], name: str, expected: str
) -> ValueError:
    return ValueError(
        f"Expected arrays in {path} whose shapes make {name} {expected}. Received: "
        f"{numbers[name]}."
    )


def _complete(text: dict[str, Any], has_post_norms: bool) -> dict[str, Any]:
    for preset in PRESETS.values():
        released = preset.text_decoder
        if all(released[name] == value for name, value in text.items()):
            return {**text, **released, "has_post_norms": has_post_norms}
    return {
        **text,
        "query_pre_attn_scalar": text["head_dim"],
        "attention_logit_soft_cap": 50.0 if has_post_norms else None,
        "final_logit_soft_cap": 30.0 if has_post_norms else None,
        "sliding_window": 4096 if has_post_norms else None,
        "has_post_norms": has_post_norms,
    }


def write_big_vision(
    checkpoint: Checkpoint, target: Path, dtype: str | None, advance: Advance
) -> None:
    """Writes a .npz as `formats.Writer` says; its tokenizer is a file of its own.

    What the shapes do not tell is added as one more array, `ARCHITECTURE_KEY`. A stack
    without a `dtype` has that of its first layer.
    """
    architecture = checkpoint.architecture
    rows = sorted(weight_rows(**architecture), key=lambda row: row.theirs)
    tensors = outgoing_tensors(checkpoint, rows, dtype)
    shapes = {tensor.key: tensor.shape for tensor in tensors}
    if infer_architecture(shapes, target) != override_architecture(architecture):
        tensors.insert(0, _noted(architecture))
    write_npz(target, tensors, advance)


def _noted(architecture: Architecture) -> Outgoing:
    text = json.dumps({part: dict(values) for part, values in architecture.items()})
    array = np.frombuffer(text.encode(), np.uint8)
    return Outgoing(
        key=ARCHITECTURE_KEY,
        shape=array.shape,
        dtype=array.dtype,
        blocks=lambda: iter([array]),
    )


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in big_vision's layout."""
    width = vision_encoder["hidden_dim"]
    positions = Part((1, num_image_tokens(**vision_encoder), width), (0,))
    return [
        *_pair("vision_encoder/patch_embedding", "params/img/embedding"),
        Row(
            "vision_encoder/position_embedding/embeddings",
            "params/img/pos_embedding",
            part=positions,
        ),
        *_vision_blocks(vision_encoder),
        *_norm("vision_encoder/final_norm", "params/img/Transformer/encoder_norm"),
        *_pair("vision_projection", "params/img/head"),
        Row(
            "text_decoder/token_embedding/embeddings",
            "params/llm/embedder/input_embedding",
        ),
        *_text_blocks(text_decoder),
        Row("text_decoder/final_norm/scale", "params/llm/final_norm/scale"),
    ]


def _vision_blocks(architecture: Mapping[str, Any]) -> list[Row]:
    width, inner = architecture["hidden_dim"], architecture["intermediate_dim"]
    heads = architecture["num_heads"]
    head_dim = width // heads
    attention = "MultiHeadDotProductAttention_0/"
    entries: list[tuple[str, str, Shape, Transform]] = [
        ("mlp_up/kernel", "MlpBlock_0/Dense_0/kernel", (width, inner), IDENTITY),
        ("mlp_up/bias", "MlpBlock_0/Dense_0/bias", (inner,), IDENTITY),
        ("mlp_down/kernel", "MlpBlock_0/Dense_1/kernel", (inner, width), IDENTITY),
        ("mlp_down/bias", "MlpBlock_0/Dense_1/bias", (width,), IDENTITY),
        (
            "attention/output_dense/kernel",
            attention + "out/kernel",
            (heads, head_dim, width),
            heads_last(width, head_dim),
        ),
        ("attention/output_dense/bias", attention + "out/bias", (width,), IDENTITY),
    ]
    for i, norm in enumerate(("attention_norm", "mlp_norm")):
        for ours, theirs in (("gamma", "scale"), ("beta", "bias")):
            entries.append(
                (f"{norm}/{ours}", f"LayerNorm_{i}/{theirs}", (width,), IDENTITY)
            )
    split = flattened(heads, head_dim)
    for name in ("query", "key", "value"):
        ours, theirs = f"attention/{name}_dense/", f"{attention}{name}/"
        entries.append(
            (ours + "kernel", theirs + "kernel", (width, heads, head_dim), split)
        )
        entries.append((ours + "bias", theirs + "bias", (heads, head_dim), split))
    return _stacked(entries, architecture["num_layers"], "vision_encoder/", _VIT)


def _text_blocks(architecture: Mapping[str, Any]) -> list[Row]:
    width, head_dim = architecture["hidden_dim"], architecture["head_dim"]
    inner, count = architecture["intermediate_dim"], architecture["num_layers"]
    queries, keys = architecture["num_query_heads"], architecture["num_key_value_heads"]
    norms = [
        ("pre_attention_norm", "pre_attention_norm"),
        ("pre_mlp_norm", "pre_ffw_norm"),
    ]
    if architecture["has_post_norms"]:
        norms += [("post_attention_norm",) * 2, ("post_mlp_norm", "post_ffw_norm")]
    into_heads, out_of_heads = heads_first(width, head_dim), heads_last(width, head_dim)
    single: list[tuple[str, str, Shape, Transform]] = [
        *((f"{o}/scale", f"{t}/scale", (width,), IDENTITY) for o, t in norms),
        (
            "attention/query_dense/kernel",
            "attn/q_einsum/w",
            (queries, width, head_dim),
            into_heads,
        ),
        (
            "attention/output_dense/kernel",
            "attn/attn_vec_einsum/w",
            (queries, head_dim, width),
            out_of_heads,
        ),
        ("mlp/down_dense/kernel", "mlp/linear", (inner, width), IDENTITY),
    ]
    double: list[tuple[tuple[str, str], str, Shape, Transform]] = [
        (
            ("attention/key_dense/kernel", "attention/value_dense/kernel"),
            "attn/kv_einsum/w",
            (keys, width, head_dim),
            into_heads,
        ),
        (
            ("mlp/gate_dense/kernel", "mlp/up_dense/kernel"),
            "mlp/gating_einsum",
            (width, inner),
            IDENTITY,
        ),
    ]
    rows = _stacked(single, count, "text_decoder/", _LLM)
    rows += [
        Row(
            f"text_decoder/block_{i}/{ours}",
            _LLM + theirs,
            transform,
            part=Part((count, 2, *shape), (i, j)),
        )
        for pair, theirs, shape, transform in double
        for i in range(count)
        for j, ours in enumerate(pair)
    ]
    return rows


def _stacked(
    entries: list[tuple[str, str, Shape, Transform]], count: int, ours: str, theirs: str
) -> list[Row]:
    return [
        Row(
            f"{ours}block_{i}/{our}",
            theirs + their,
            transform,
            part=Part((count, *shape), (i,)),
        )
        for our, their, shape, transform in entries
        for i in range(count)
    ]
