"""Reading and writing JSON files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from keras_pg2.files.whole_files import write_text

MAX_CONFIG_BYTES = 100_000_000
"""Of a vocabulary or an index; parsed, it takes ten times as much."""
MAX_SMALL_BYTES = 4_000_000
"""Of a configuration, which has some kilobytes; parsed, it may take 50 times that."""


def load_json(path: Path) -> Any:
    """Return what a JSON file holds, of any kind and size.

    Raises:
        OSError: if it is no file, or cannot be read.
        ValueError: if it holds no JSON.
    """
    return _parse(_read(path), path)


def read_json(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file of at most so many bytes.

    Raises:
        OSError: if it is no file, or cannot be read.
        ValueError: if it holds no JSON, or something other than an object, or is
            larger.
    """
    return parse_json(_read(path, max_bytes), path)


def parse_json(content: bytes, source: str | Path) -> dict[str, Any]:
    """Return the object in the content of a JSON file, which errors call `source`.

    Raises:
        ValueError: if it is not JSON, or is something other than an object.
    """
    value = _parse(content, source)
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


def _read(path: Path, max_bytes: int | None = None) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # Reading a named pipe would wait for ever.
        raise OSError(f"Expected a file at {path}. Received: something else.")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ValueError(
            f"Expected a JSON file of at most {max_bytes / 1e6:.0f} MB at {path}. "
            f"Received: {status.st_size / 1e6:.0f} MB."
        )
    return path.read_bytes()


def _parse(content: bytes, source: str | Path) -> Any:
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise ValueError(f"Expected JSON in {source}. Received: {error}.") from error
    except RecursionError as error:
        raise ValueError(
            f"Expected JSON in {source}. Received: lists in lists beyond any use."
        ) from error
