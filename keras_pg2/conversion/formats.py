"""The formats of checkpoints: which one a path holds, opening it, writing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sentencepiece import SentencePieceProcessor

from keras_pg2.checks.texts import printable
from keras_pg2.checks.vocabularies import parse_sentencepiece, read_vocabulary
from keras_pg2.conversion.big_vision.format import open_big_vision, write_big_vision
from keras_pg2.conversion.checkpoint_files import check_files
from keras_pg2.conversion.gemma_cpp.format import open_gemma_cpp, write_gemma_cpp
from keras_pg2.conversion.huggingface.reader import (
    is_huggingface_directory,
    open_huggingface,
)
from keras_pg2.conversion.huggingface.writer import write_huggingface
from keras_pg2.conversion.keras.keras_hub import is_keras_hub_preset, open_keras_hub
from keras_pg2.conversion.keras.preset import is_preset, open_preset, write_preset
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.unreadable import no_checkpoint
from keras_pg2.files.user_paths import user_path
from keras_pg2.files.whole_files import readable
from keras_pg2.typing import Advance


class Writer(NamedTuple):
    """How a format is written.

    Attributes:
        title: what users call it.
        ending: of the file's name; "" for a directory.
        dtypes: names of the types of weights it holds.
        write: Called with a checkpoint, a target that does not exist, the name of the
            type of all tensors (None for each tensor's own), and what is told the bytes
            of each block when it is written.
    """

    title: str
    ending: str
    dtypes: tuple[str, ...]
    write: Callable[[Checkpoint, Path, str | None, Advance], None]


_FLOATS = tuple(DTYPES)
WRITERS: dict[str, Writer] = {
    "hf": Writer("Hugging Face directory", "", _FLOATS, write_huggingface),
    "preset": Writer("preset of Keras", "", _FLOATS, write_preset),
    "npz": Writer("big_vision file", ".npz", _FLOATS, write_big_vision),
    "sbs": Writer(
        "gemma.cpp file", ".sbs", ("bfloat16", "float32", "sfp"), write_gemma_cpp
    ),
}
"""Formats that can be written, by the name `keras-pg2 convert --to` takes."""


def open_checkpoint(
    path: str | Path,
    tokenizer: str | Path | None = None,
    *,
    with_weights: bool = True,
    **overrides: Any,
) -> Checkpoint:
    """Open a checkpoint of any format; no weights are read.

    Our own presets may be quantized (`Checkpoint.policies`).

    Args:
        path: a directory (our preset, KerasHub's, Hugging Face's) or a file (.npz of
            big_vision, .sbs of gemma.cpp).
        tokenizer: a SentencePiece file to take in place of the checkpoint's own; None
            takes that, for a .npz, which has none inside, `paligemma_tokenizer.model`
            or `tokenizer.model` beside it.
        with_weights: False opens a description alone; weights need not be there.
        **overrides: arguments of the network that a .npz does not tell, such as
            `query_pre_attn_scalar`.

    Raises:
        FileNotFoundError: when there is nothing at the path, or a file is missing.
        ValueError: when it holds no PaliGemma, its parts do not fit together, a given
            tokenizer is not one of SentencePiece, or a saving into the directory has
            not ended.
    """
    path = readable(user_path(path))
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a checkpoint at {path}, where nothing is. Check the path."
        )
    file = None if tokenizer is None else user_path(tokenizer)
    ending = path.suffix.lower()
    if ending == ".npz" and path.is_file():
        return open_big_vision(path, file, overrides, with_weights)
    proto = None if file is None else _read_tokenizer(file)
    if path.is_dir():
        check_files(path)
    if ending == ".sbs" and path.is_file():
        return _with_tokenizer(open_gemma_cpp(path, with_weights), proto)
    for matches, opens in (
        (is_preset, open_preset),
        (is_keras_hub_preset, open_keras_hub),
        # Its own may be of a kind that is not read.
        (is_huggingface_directory, partial(open_huggingface, tokenizer=proto)),
    ):
        if path.is_dir() and matches(path):
            return _with_tokenizer(opens(path, with_weights), proto)
    raise no_checkpoint(path)


def has_config(directory: Path) -> bool:
    """Return whether a directory has a configuration of one of the formats.

    Raises:
        OSError, ValueError: if its config.json cannot be read.
    """
    kinds = (is_preset, is_keras_hub_preset, is_huggingface_directory)
    return any(matches(directory) for matches in kinds)


def _read_tokenizer(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a SentencePiece file at {path}, where none is. Pass "
            "paligemma_tokenizer.model."
        )
    proto = read_vocabulary(path)
    count_pieces(proto, path)
    return proto


def count_pieces(proto: bytes, source: Path) -> int:
    """Return the number of pieces of a SentencePiece model, as its library reads it.

    Raises:
        ValueError: if the library cannot read it.
    """
    parse_sentencepiece(proto, source)
    try:
        return int(SentencePieceProcessor(model_proto=proto).vocab_size())
    except RuntimeError as error:
        raise ValueError(
            f"Expected a SentencePiece model as the tokenizer, in {source}. Received: "
            f"{len(proto):,} bytes that cannot be read as one ({printable(error)}). "
            "Pass tokenizer=, PaliGemma's own file."
        ) from error


def _with_tokenizer(checkpoint: Checkpoint, proto: bytes | None) -> Checkpoint:
    if proto is None:
        return checkpoint
    preprocessing = replace(checkpoint.preprocessing, tokenizer=proto)
    return replace(checkpoint, preprocessing=preprocessing)
