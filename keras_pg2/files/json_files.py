"""Reading and writing JSON files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from keras_pg2.files.whole_files import write_text


def load_json(path: Path) -> Any:
    """What a JSON file holds, of any kind.

    Raises:
        ValueError: when the file holds no JSON.
    """
    return _parse(path.read_bytes(), path)


def _parse(content: bytes, source: str | Path) -> Any:
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise ValueError(f"Expected JSON in {source}. Received: {error}.") from error
    except RecursionError as error:
        raise ValueError(
            f"Expected JSON in {source}. Received: lists in lists beyond any use."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: when the file holds no JSON, or something else than an object.
    """
    return parse_json(path.read_bytes(), path)


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
