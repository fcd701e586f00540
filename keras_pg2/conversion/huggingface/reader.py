"""Reads a Hugging Face directory of PaliGemma or PaliGemma 2.

The directory is what `hf download google/paligemma2-3b-pt-224` or transformers'
`save_pretrained` leaves: `config.json`, safetensors files and, for the
preprocessor, `tokenizer.model` or `tokenizer.json` and `preprocessor_config.json`.
PyTorch and transformers are not needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from keras_pg2.catalogue.released import text_length
from keras_pg2.checks.vocabularies import piece_texts
from keras_pg2.conversion.huggingface.config import read_architecture
from keras_pg2.conversion.huggingface.keys import hub_names
from keras_pg2.conversion.huggingface.pictures import read_interpolation
from keras_pg2.conversion.huggingface.tokenizer.directory import read_tokenizer
from keras_pg2.conversion.huggingface.weights import (
    IGNORABLE,
    OUTPUT_TABLE,
    HubSource,
    check_tied,
    stored_rows,
    weight_rows,
)
from keras_pg2.conversion.safetensors_files import (
    INDEX_FILE,
    SINGLE_FILE,
    SafetensorsSource,
)
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.unreadable import describe, has_adapter
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import read_json
from keras_pg2.typing import Architecture

# What the names of classes begin with, and what these are.
_AROUND = {
    "colpali": "a ColPali, which embeds pages to search in them and answers no "
    "prompts. Load it with ColPaliForRetrieval of transformers, or with "
    "colpali-engine.",
    "pi0": "a policy for robots (pi0), of which a PaliGemma is a part. Load it with "
    "LeRobot or openpi.",
}


def is_huggingface_directory(path: str | Path) -> bool:
    """Whether a directory has a `config.json` of transformers (not of Keras)."""
    config = Path(path) / "config.json"
    if not config.is_file():
        return False
    content = read_json(config)
    return "model_type" in content and "registered_name" not in content


def open_huggingface(
    directory: Path, with_weights: bool = True, tokenizer: bytes | None = None
) -> Checkpoint:
    """Opens a Hugging Face directory as `open_checkpoint`.

    All layouts of keys that transformers has written are read, in one file or in
    shards, of float64, float32, bfloat16 or float16; keys that trainers have put
    something in front of, with a note. The embedding rows of `<image>` and of padding
    are left out. A `tokenizer` is taken in place of the directory's own, which is then
    not looked at.

    Raises:
        FileNotFoundError: when `config.json`, the weights or a shard is missing.
        ValueError: when the directory holds another model, a file is cut off, or
            keys or shapes of the weights do not fit; before tensors are read.
    """
    path = directory / "config.json"
    content = read_json(path)
    config = Fields(content, path)
    _check_class(config, directory)
    tokenizer = tokenizer or read_tokenizer(directory, config)
    tokens = [] if tokenizer is None else piece_texts(tokenizer)
    architecture = read_architecture(content, path, tokens)
    checkpoint = Checkpoint(
        format="huggingface",
        path=directory,
        architecture=architecture,
        preprocessing=_read_preprocessing(directory, architecture, tokenizer),
    )
    if not with_weights:
        return checkpoint
    _check_weights(config, directory)
    files = SafetensorsSource(directory)
    rows = weight_rows(**architecture)
    names, notes = hub_names(files.keys(), {row.theirs for row in rows})
    _check_tie(config, names, directory)
    source = HubSource(files, names)
    checkpoint = replace(checkpoint, notes=notes).with_weights(
        stored_rows(rows, source), source, IGNORABLE
    )
    check_tied(source)
    return checkpoint


def _check_class(config: Fields, directory: Path) -> None:
    """Check that it is no other model around a PaliGemma, whose weights it has too.

    Raises:
        ValueError: if it is.
    """
    classes = config.items("architectures", Fields.text, None) or []
    found = [config.text("model_type", ""), *classes]
    for kind, what in _AROUND.items():
        if any(name.lower().startswith(kind) for name in found):
            raise ValueError(
                f"Expected a PaliGemma or PaliGemma 2 in {directory}. Received: {what}"
            )


def _check_weights(config: Fields, directory: Path) -> None:
    """Check that there are weights, and no others than would be read.

    Raises:
        FileNotFoundError: if there are none of safetensors.
        ValueError: if config.json names a file of another name.
    """
    named = config.text("transformers_weights", None)
    if named not in (None, SINGLE_FILE):
        raise ValueError(
            f"Expected the weights of {directory} in {SINGLE_FILE}. Received: "
            f"transformers_weights {named!r} in config.json. Give that file the usual "
            "name, and remove the entry."
        )
    if not any((directory / name).exists() for name in (SINGLE_FILE, INDEX_FILE)):
        raise FileNotFoundError(
            f"Expected {SINGLE_FILE} or {INDEX_FILE}. Received: {describe(directory)}"
        )
    if has_adapter(directory):
        warnings.warn(
            f"Expected a model without an adapter in {directory}. Received: an adapter "
            "beside the weights, which is left out. If it is not merged into them, "
            "load it by model.adapters.load.",
            stacklevel=2,
        )


def _check_tie(config: Fields, names: Mapping[str, str], directory: Path) -> None:
    """Check that both tables are there where one is not to be taken for the other.

    Raises:
        ValueError: if one is missing.
    """
    is_tied = config.flag("tie_word_embeddings", None)
    if is_tied is False and OUTPUT_TABLE not in names:
        raise ValueError(
            f"Expected embed_tokens and lm_head in {directory}, as config.json says "
            "tie_word_embeddings false. Received: one of them. If they were tied, as "
            "those of every PaliGemma, set it true."
        )


def _read_preprocessing(
    directory: Path, architecture: Architecture, tokenizer: bytes | None
) -> Preprocessing:
    """Reads how pictures are stretched.

    Without these files: bicubic. The text length is what models of
    this image size were trained with (256 up to 224 pixels, else 512).
    """
    side = architecture["vision_encoder"]["image_size"]
    return Preprocessing(
        tokenizer=tokenizer,
        sequence_length=text_length(side),
        interpolation=read_interpolation(directory, side),
    )
