"""The safetensors files of adapters: their metadata, and their tensors as float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from keras_pg2.checks.numbers import MAX_LORA_ALPHA
from keras_pg2.checks.texts import printable
from keras_pg2.conversion.safetensors_files import FLOAT_TYPES, read_header
from keras_pg2.conversion.tables.blocks import Block
from keras_pg2.conversion.tables.number_types import is_finite
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import parse_value


def read_metadata(path: Path) -> Fields:
    """Return the metadata of a safetensors file, which are texts.

    Raises:
        ValueError: if it is cut off, or no safetensors file.
    """
    read_header(path)  # Its errors say what to do.
    try:
        with safe_open(path, "numpy") as file:
            return Fields(file.metadata() or {}, path, "__metadata__")
    except SafetensorError as error:
        raise ValueError(
            f"Expected a safetensors file at {path}, but it cannot be read: "
            f"{printable(error)}. Download it again."
        ) from error


def parse_metadata(metadata: Fields, names: Iterable[str]) -> Fields:
    """Return those of some metadata that are there, parsed from JSON.

    Raises:
        ValueError: if one is not JSON.
    """
    values = {}
    for name in names:
        if name in metadata:
            source = f"{metadata.at(name)} of {metadata.source}"
            values[name] = parse_value(metadata.text(name).encode(), source)
    return Fields(values, metadata.source, metadata.path)


def read_alpha(fields: Fields, name: str) -> float:
    """Return an alpha, in (0, 1e6].

    Raises:
        ValueError: if it is no such number.
    """
    alpha: float = fields.number(name, above=0, at_most=MAX_LORA_ALPHA)
    return alpha


def read_dropout(fields: Fields, name: str) -> float:
    """Return a dropout, in [0, 1); 0 if the file has none.

    Raises:
        ValueError: if it is no such number.
    """
    return fields.number(name, None, at_least=0, below=1) or 0.0


def float_blocks(path: Path) -> dict[str, Block]:
    """Return where the tensors of a file are, by key.

    Raises:
        ValueError: if one is not of floats, or the file is cut off.
    """
    blocks = {}
    for key, (type_name, block) in read_header(path).items():
        if type_name not in FLOAT_TYPES:
            raise ValueError(
                f"Expected tensors of {', '.join(FLOAT_TYPES)} in {path}. Received: "
                f"{key!r} of {type_name!r}."
            )
        blocks[key] = block
    return blocks


def read_floats(path: Path) -> dict[str, np.ndarray]:
    """Return all tensors of a file by key, as float32.

    Raises:
        ValueError: if one is not of floats, or the file is cut off.
    """
    blocks = float_blocks(path)
    return {key: block.read().astype(np.float32) for key, block in blocks.items()}


def check_finite(tensors: Mapping[str, np.ndarray], advice: str) -> None:
    """Raise ValueError, which ends with the advice, if a number is NaN or infinite."""
    for key, value in tensors.items():
        if not is_finite(value):
            raise ValueError(
                f"Expected finite numbers. Received: NaN or infinity in "
                f"{printable(key)}. {advice}"
            )
