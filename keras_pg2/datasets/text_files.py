"""Text files as editors and spreadsheets of several systems write them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from keras_pg2.files.json_files import parse_json, read_file

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def to_utf8(content: bytes, source: str | Path) -> bytes:
    """Return UTF-8 without a byte order mark, for UTF-8 or UTF-16 with one.

    Windows' editors write the first, its PowerShell and Excel's "Unicode text" the
    second. Anything without a mark is returned as it is.

    Args:
        content: Content of a file.
        source: The file, for errors.

    Raises:
        ValueError: if the mark says UTF-16, and it is not.
    """
    if not content.startswith(_UTF16):
        return content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-16").encode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}: expected UTF-16, as its first bytes say, received something "
            f"else at byte {error.start}. Save the file as UTF-8."
        ) from error


def decode(
    content: bytes,
    source: str | Path,
    encoding: str | None = None,
    advice: str = "Save the file as UTF-8.",
) -> str:
    """Return the text of a file.

    Args:
        content: Content of a file.
        source: The file, for errors.
        encoding: Encoding of the file; None for UTF-8, or UTF-16 with a byte order
            mark.
        advice: What to do about a file in another encoding, for errors.

    Raises:
        ValueError: if the content is in another encoding, or there is no such one.
    """
    try:
        if encoding is not None:
            return content.decode(encoding).removeprefix("\ufeff")
        return to_utf8(content, source).decode()
    except LookupError as error:
        raise ValueError(
            f"Expected an encoding that Python knows, as cp1252. Received: {encoding!r}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}: expected {encoding or 'UTF-8'}, received another encoding at "
            f"byte {error.start}. {advice}"
        ) from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, with or without a byte order mark.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it is not JSON, or is something other than an object.
    """
    return parse_json(to_utf8(read_file(path), path), path)
