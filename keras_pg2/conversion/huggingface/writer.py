"""Writes a Hugging Face directory in the layout of google/paligemma2-* on the hub.

transformers, vLLM, MLX and gemma.cpp's converter read that layout. What
transformers 5 saves by itself lacks `vision_model.` in the names of the image
encoder, which only transformers reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import num_image_tokens
from keras_pg2.checks.vocabularies import piece_texts
from keras_pg2.conversion.huggingface.config import read_architecture, write_config
from keras_pg2.conversion.huggingface.pictures import RESAMPLE
from keras_pg2.conversion.huggingface.tokenizer.form import IMAGE_TOKEN
from keras_pg2.conversion.huggingface.tokenizer.to_json import to_tokenizer_json
from keras_pg2.conversion.huggingface.weights import weight_rows
from keras_pg2.conversion.model_card import write_model_card
from keras_pg2.conversion.safetensors_files import write_safetensors
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.outgoing import main_dtype, outgoing_tensors
from keras_pg2.typing import Advance


def write_huggingface(
    checkpoint: Checkpoint, target: Path, dtype: str | None, advance: Advance
) -> None:
    """Writes a Hugging Face directory as `formats.Writer` says.

    Raises:
        ValueError: when transformers has no such network (soft caps without
            post-norms, say), or the tokenizer is not of the network's size.
    """
    tensors = outgoing_tensors(
        checkpoint, weight_rows(**checkpoint.architecture), dtype
    )
    proto = checkpoint.preprocessing.tokenizer
    if proto is not None:
        _check_vocabulary(
            proto, checkpoint.architecture["text_decoder"]["vocabulary_size"]
        )
    write_description(checkpoint, target, main_dtype(tensors))
    if proto is not None:
        write_tokenizer(target, proto)
    write_model_card(target, checkpoint, "transformers")
    write_safetensors(target, tensors, advance)


def write_description(checkpoint: Checkpoint, target: Path, dtype: str) -> None:
    """Write the JSON files of a new directory, except the tokenizer's.

    The `dtype` is that of the weights.

    Raises:
        ValueError: when transformers has no such network.
    """
    config = write_config(checkpoint.architecture, dtype)
    proto = checkpoint.preprocessing.tokenizer
    tokens = [] if proto is None else piece_texts(proto)
    if IMAGE_TOKEN in tokens:  # Tokens were added after it.
        config["image_token_index"] = tokens.index(IMAGE_TOKEN)
    _check_same(read_architecture(config, tokens=tokens), checkpoint.architecture)
    target.mkdir(parents=True)
    _write_json(target / "config.json", config)
    ids = {f"{name}_token_id": i for i, name in enumerate(("pad", "eos", "bos"))}
    _write_json(target / "generation_config.json", {"_from_model_config": True, **ids})
    processor = _image_processor(checkpoint)
    _write_json(target / "preprocessor_config.json", processor)
    nested = {
        "image_processor": processor,
        "image_seq_length": processor["image_seq_length"],
        "processor_class": "PaliGemmaProcessor",
    }
    _write_json(target / "processor_config.json", nested)


def _check_same(ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [
        f"{name}={wanted[part][name]!r}"
        for part in wanted
        for name in wanted[part]
        if ours[part][name] != wanted[part][name]
    ]
    if differing:
        raise ValueError(
            "Expected a network that transformers has: Gemma 1 (no post-norms, caps or "
            f"window) or Gemma 2. Received: {', '.join(differing)}, which its "
            "config.json cannot say."
        )


def _check_vocabulary(proto: bytes, vocabulary_size: int) -> None:
    num_pieces = len(piece_texts(proto))
    if num_pieces != vocabulary_size:
        raise ValueError(
            f"Expected a tokenizer of {vocabulary_size} pieces, one an embedding, so "
            f"that {IMAGE_TOKEN} gets the id after them. Received: {num_pieces} "
            "pieces."
        )


def _image_processor(checkpoint: Checkpoint) -> dict[str, Any]:
    vision = checkpoint.architecture["vision_encoder"]
    side = vision["image_size"]
    filters = {name: number for number, name in RESAMPLE.items()}
    return {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "PaliGemmaProcessor",
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_seq_length": num_image_tokens(**vision),
        "resample": filters[checkpoint.preprocessing.interpolation],
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def write_tokenizer(target: str | Path, proto: bytes) -> None:
    """Write the vocabulary and the files that describe it, as transformers reads them.

    Args:
        target: Directory to write into; made if it is not there.
        proto: SentencePiece model, `proto` of a `PaliGemma2Tokenizer`.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / "tokenizer.model").write_bytes(proto)
    content = to_tokenizer_json(proto)
    _write_json(target / "tokenizer.json", content, indent=None)
    named = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}
    # A vocabulary without <mask> must not be given one: <image> would move.
    has_mask = "<mask>" in content["model"]["vocab"]
    tokenizer_config = {
        "tokenizer_class": "GemmaTokenizer",
        "processor_class": "PaliGemmaProcessor",
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(token.pop("id")): token for token in map(dict, content["added_tokens"])
        },
        "additional_special_tokens": [IMAGE_TOKEN],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000_000_000_019_884_624_838_656,
        "padding_side": "left",
        "mask_token": "<mask>" if has_mask else None,
        **named,
    }
    _write_json(target / "tokenizer_config.json", tokenizer_config)
    special = {**named, "additional_special_tokens": [IMAGE_TOKEN]}
    _write_json(target / "special_tokens_map.json", special)


def _write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
