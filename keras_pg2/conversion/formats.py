"""The formats of checkpoints: which one a path holds, opening it, writing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from keras_pg2.conversion.big_vision.format import open_big_vision, write_big_vision
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
from keras_pg2.files.json_fields import shown
from keras_pg2.files.json_files import read_json
from keras_pg2.files.whole_files import recover
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
        tokenizer: a SentencePiece file for a .npz, which has none inside; None takes
            `paligemma_tokenizer.model` or `tokenizer.model` beside it.
        with_weights: False opens a description alone; weights need not be there.
        **overrides: arguments of the network that a .npz does not tell, such as
            `query_pre_attn_scalar`.

    Raises:
        FileNotFoundError: when there is nothing at the path, or a file is missing.
        ValueError: when it holds no PaliGemma, or its parts do not fit together.
    """
    path = Path(path).expanduser()
    recover(path)
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a checkpoint at {path}, where nothing is. Check the path."
        )
    if path.suffix == ".npz" and path.is_file():
        beside = None if tokenizer is None else Path(tokenizer).expanduser()
        return open_big_vision(path, beside, overrides, with_weights)
    if path.suffix == ".sbs" and path.is_file():
        return open_gemma_cpp(path, with_weights)
    for matches, opens in (
        (is_preset, open_preset),
        (is_keras_hub_preset, open_keras_hub),
        (is_huggingface_directory, open_huggingface),
    ):
        if path.is_dir() and matches(path):
            return opens(path, with_weights)
    raise _no_checkpoint(path)


def _no_checkpoint(path: Path) -> Exception:
    formats = (
        "Expected a directory with a config.json of keras_pg2, KerasHub or Hugging "
        "Face, or a file that ends in .npz (big_vision) or .sbs (gemma.cpp). "
    )
    if path.is_file():
        return ValueError(f"{formats}Received: the file {path}.")
    config = path / "config.json"
    if config.is_file():
        content = read_json(config)
        name = content.get("registered_name") or content.get("class_name")
        return ValueError(
            f"{formats}Received: {path} with {shown(name)} in config.json."
        )
    if (path / "adapter_config.json").is_file():
        return FileNotFoundError(
            f"{formats}Received: {path}, a PEFT adapter. Load the model it was trained "
            "on."
        )
    files = sorted(p.name for p in path.iterdir() if p.suffix in (".npz", ".sbs"))
    if files:
        return FileNotFoundError(
            f"{formats}Received: a directory of {', '.join(files)}. Name the file."
        )
    return FileNotFoundError(
        f"{formats}Received: the directory {str(path)!r} without one. Download the "
        "whole repository, and pass the directory of one model."
    )
