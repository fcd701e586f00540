"""Reading the JSON files of presets and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
