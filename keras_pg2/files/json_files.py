"""Reading and writing JSON files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_pg2.files.whole_files import write_text

MAX_CONFIG_BYTES = 100_000_000
"""Bound of a vocabulary or an index; parsed, it takes ten times as much."""


def load_json(path: Path) -> Any:
    """Return what a JSON file holds, of any kind and size.

    Raises:
        OSError: if it is no file, or cannot be read.
        ValueError: if it holds no JSON.
    """
    return parse_value(read_file(path), path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        OSError: if it is no file, or cannot be read.
        ValueError: if it holds no JSON, or something other than an object, or is
            larger than any configuration.
    """
    return parse_json(read_file(path, MAX_CONFIG_BYTES), path)


def parse_json(content: bytes, source: str | Path) -> dict[str, Any]:
    """Return the object in the content of a JSON file, which errors call `source`.

    Raises:
        ValueError: if it is not JSON, or is something other than an object.
    """
    value = parse_value(content, source)
    if not isinstance(value, dict):
        raise ValueError(
            f"Expected a JSON object in {source}. Received: {type(value).__name__}."
        )
    return value


def write_json(content: Any, path: str | os.PathLike[str]) -> None:
    """Write a COCO or LabelMe value as a JSON file, in place of one of that name.

    Raises:
        OSError: if it cannot be written; what was there stays.
        ValueError: if a number is not finite, which JSON has no word for.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(text + "\n", path)


def read_file(path: Path, max_bytes: int | None = None) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: if it is no file, such as a pipe, or cannot be read.
        ValueError: if it has more than `max_bytes`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # Reading a named pipe would wait for ever.
        raise OSError(f"Expected a file at {path}. Received: something else.")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ValueError(
            f"Expected a file of at most {max_bytes / 1e6:.0f} MB at {path}. "
            f"Received: {status.st_size / 1e6:.0f} MB."
        )
    return path.read_bytes()


def parse_value(
    content: bytes,
    source: str | Path,
    make_object: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return what JSON text holds, of any kind; errors call it `source`.

    Args:
        content: The text.
        source: Where it is from.
        make_object: Returns an object of its names and values; None for a dict, in
            which the last of equal names stays.

    Raises:
        ValueError: if it is not JSON, or not UTF-8.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=make_object)
    except ValueError as error:
        raise ValueError(f"Expected JSON in {source}. Received: {error}.") from error
    except RecursionError as error:
        raise ValueError(
            f"Expected JSON in {source}. Received: lists in lists beyond any use."
        ) from error
