"""JSON lines of image, prefix and suffix, the form of big_vision and of Roboflow.

    {"image": "cat.jpg", "prefix": "caption en", "suffix": "a cat on a mat"}

Sources: big_vision `datasets/jsonl.py` and `configs/proj/paligemma/transfers/
forkme.py`; Roboflow's "PaliGemma" export (`_annotations.train.jsonl` beside the
pictures). Other keys of a line are ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.entries import EntryReader
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.rows import Row, Rows, paths_of
from keras_pg2.datasets.text_files import to_utf8
from keras_pg2.files.json_files import read_file
from keras_pg2.files.whole_files import write_text


def read_jsonl(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    prompt: str | None = None,
    default_prompt: str | None = None,
    image_key: str = "image",
    prompt_key: str = "prefix",
    response_key: str = "suffix",
    on_bad: OnBad = "raise",
) -> Rows:
    """Reads and checks a whole file; pictures must be there, but are not decoded.

    Numbers as answers are trained on as they are written, objects as their JSON. An
    answer may be empty where the prompt begins with "detect" or "segment": what is
    asked for is not in the picture.

    Args:
        path: the file, UTF-8, one JSON object a line, or a JSON list of them; empty
            lines are ignored.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        prompt: the prompt of all rows, in the place of theirs; for files without
            prefixes, as captions. Keys of the line in braces, as in "answer en
            {question}", are filled in.
        default_prompt: likewise, of rows that have none or a blank one alone.
        image_key: the key of the picture, a path or a list of paths.
        prompt_key: the key of the prompt, which may be empty.
        response_key: the key of the answer.
        on_bad: "skip" leaves lines that cannot be used out and lists them in
            `skipped` of the result.

    Raises:
        FileNotFoundError, PermissionError: when the file or a picture is not there or
            not readable.
        ValueError: when a line is no JSON object, a key is missing, a text is empty or
            of another type, or no line is left; names file and line.
    """
    path = Path(path).expanduser()
    problems = Problems(on_bad)
    content = to_utf8(read_file(path), path)
    finder = ImageFinder(path.parent if image_folder is None else image_folder)
    reader = EntryReader(
        finder, image_key, prompt_key, response_key, prompt, default_prompt
    )
    return reader.read_all(_entries(content, path), problems, str(path), _parse)


def write_jsonl(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows as JSON lines, which `read_jsonl` reads, in place of a file there.

    Args:
        rows: rows with paths of pictures.
        path: the file. Pictures are named as seen from its folder.

    Raises:
        ValueError: if a picture is not a file.
        OSError: if the file cannot be written; what was there stays.
    """
    path = Path(path).expanduser()
    lines = [
        json.dumps(to_entry(row, path.parent), ensure_ascii=False) + "\n"
        for row in rows
    ]
    write_text("".join(lines), path)


def to_entry(row: Row, folder: Path) -> dict[str, Any]:
    """Return a row as an entry of image, prefix and suffix.

    Args:
        row: the row.
        folder: what paths of pictures are made relative to.

    Raises:
        ValueError: if a picture is not a file.
    """
    names = []
    for image in paths_of(row):
        if not isinstance(image, str | os.PathLike):
            raise ValueError(
                "Expected rows with paths of pictures, to write them to a file; "
                f"received {type(image).__name__}. Save the pictures first."
            )
        names.append(Path(os.path.relpath(image, folder)).as_posix())
    is_list = isinstance(row["images"], list | tuple)
    return {
        "image": names if is_list else names[0],
        "prefix": row["prompts"],
        "suffix": row["responses"],
    }


def _entries(content: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    """Give sources and entries: lines that are not parsed yet, or those of a list."""
    if content.lstrip()[:1] == b"[":
        try:
            entries = json.loads(content, parse_float=_parse_float)
        except (ValueError, RecursionError):
            pass  # Its first line is named, as that of lines.
        else:
            for index, entry in enumerate(entries):
                yield f"{path}, entry {index}", entry
            return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def _parse(line: Any) -> dict[str, Any]:
    """Return the object of a line, or the entry of a list if it is one."""
    entry = line
    if isinstance(line, bytes):
        try:
            entry = json.loads(line.decode("utf-8-sig"), parse_float=_parse_float)
        # A line of a thousand brackets is no JSON either.
        except (ValueError, RecursionError) as error:
            is_deep = isinstance(error, RecursionError)
            reason = "lists in lists beyond any use" if is_deep else error
            raise ValueError(
                f"expected one JSON object on the line, received {line[:60]!r} "
                f"({reason})."
            ) from error
    if not isinstance(entry, dict):
        raise ValueError(
            "expected one JSON object on the line, received "
            f"{type(entry).__name__} {shown(entry)}."
        )
    return entry


class _WrittenNumber(Decimal):
    """A number whose text is as it was written: 3.20 and 1e5 stay 3.20 and 1e5."""

    _text: str

    def __new__(cls, text: str) -> _WrittenNumber:
        number = super().__new__(cls, text)
        number._text = text
        return number

    def __str__(self) -> str:
        return self._text


def _parse_float(text: str) -> Decimal:
    """Return a number that is as it is written where it is to be read."""
    try:
        return _WrittenNumber(text)
    except InvalidOperation as error:  # Its exponent has more than 18 digits.
        raise ValueError(f"a number out of any range: {text[:60]}") from error
