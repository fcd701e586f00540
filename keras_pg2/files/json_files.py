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
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected JSON in {path}. Received: {error}.") from error
    except RecursionError as error:
        raise ValueError(
            f"Expected JSON in {path}. Received: lists in lists beyond any use."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: when the file holds no JSON, or something else than an object.
    """
    content = load_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"Expected a JSON object in {path}. Received: {type(content).__name__}."
        )
    return content


def write_json(content: Any, path: str | os.PathLike[str]) -> None:
    """Write a COCO or LabelMe value as a JSON file, in place of one of that name.

    Raises:
        OSError: if it cannot be written; what was there stays.
        ValueError: if a number is not finite, which JSON has no word for.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(text + "\n", path)
