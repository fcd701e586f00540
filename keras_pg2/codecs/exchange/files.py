"""One small writer for all forms: a file is there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4


def write_json(content: Any, path: str | os.PathLike[str]) -> None:
    """Writes a COCO or LabelMe value as a JSON file, in place of one of that name.

    Raises:
        OSError: when it cannot be written; what was there stays.
        ValueError: when a number is not finite, which is no JSON.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(text + "\n", path)


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Writes a text file in UTF-8, in place of one of that name.

    Raises:
        OSError: when it cannot be written; what was there stays.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        part.write_text(text, "utf-8", newline="\n")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
