"""JSON lines of image, prefix and suffix, the form of big_vision and of Roboflow.

    {"image": "cat.jpg", "prefix": "caption en", "suffix": "a cat on a mat"}

Sources: big_vision `datasets/jsonl.py` and `configs/proj/paligemma/transfers/
forkme.py`; Roboflow's "PaliGemma" export (`_annotations.train.jsonl` beside the
pictures). Other keys of a line are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pg2.datasets.rows import ImageFinder, OnBad, Problems, Row, Rows, check_text


def read_jsonl(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    prompt: str | None = None,
    image_key: str = "image",
    prompt_key: str = "prefix",
    response_key: str = "suffix",
    on_bad: OnBad = "raise",
) -> Rows:
    """Reads and checks a whole file; pictures must be there, but are not decoded.

    Args:
        path: the file, UTF-8, one JSON object a line; empty lines are ignored.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        prompt: the prompt of all rows, in the place of theirs; for files without
            prefixes, as captions.
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
    lines = path.read_bytes().splitlines()
    finder = ImageFinder(path.parent if image_folder is None else image_folder)
    keys = (image_key, prompt_key, response_key)
    rows, sources = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        with problems.of(source):
            rows.append(_row(_parse(line), finder, keys, prompt))
            sources.append(source)
    problems.check_some_left(len(rows), str(path))
    return Rows(rows, problems.messages, sources)


def _parse(line: bytes) -> Mapping[str, Any]:
    try:
        entry = json.loads(line.decode("utf-8-sig"))
    # A line of a thousand brackets is no JSON either.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"expected one JSON object on the line, received {line[:60]!r} ({error})."
        ) from error
    if not isinstance(entry, dict):
        raise ValueError(
            "expected one JSON object on the line, received "
            f"{type(entry).__name__} {entry!r:.60}."
        )
    return entry


def _row(
    entry: Mapping[str, Any],
    finder: ImageFinder,
    keys: tuple[str, str, str],
    prompt: str | None,
) -> Row:
    image_key, prompt_key, response_key = keys
    image = _get(entry, image_key, "image_key")
    if isinstance(image, list):
        if not image:
            raise ValueError(f"expected a picture under {image_key!r}, received [].")
        images: str | list[str] = [finder.find(one, image_key) for one in image]
    else:
        images = finder.find(image, image_key)
    if prompt is None:
        prompt = _get(entry, prompt_key, "prompt_key")
    response = _get(entry, response_key, "response_key")
    return {
        "images": images,
        "prompts": check_text(prompt, prompt_key, is_empty_allowed=True),
        "responses": check_text(response, response_key),
    }


def _get(entry: Mapping[str, Any], key: str, argument: str) -> Any:
    if key not in entry:
        raise ValueError(
            f"expected the key {key!r}, received {', '.join(entry) or 'none'}. Rename "
            f"it, or pass the name it has as {argument} to read_jsonl."
        )
    return entry[key]
