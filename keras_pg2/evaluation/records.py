"""Records of answers, of our own `predict` or of another program, read as answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.checks.texts import short_repr
from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.codecs.thing_records import read_things, things_record
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Answer, Truth
from keras_pg2.metrics.things.reading import width_and_height


def read_lines(path: Path) -> Iterator[Fields]:
    """Yield the objects of a file of JSON lines; blank lines are left out.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is no JSON object (names it), or the file is a JSON list.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.lstrip()[:1] == b"[":  # As VQA's results are.
                raise ValueError(
                    f"Expected JSON lines of id and text in {str(path)!r}, received a "
                    "JSON list. Of VQA's results write each entry as a line: "
                    '{"id": question_id, "text": answer}.'
                )
            if line.strip():
                yield Fields.parse(line, f"{path}, line {number}")


def read_records(path: str | os.PathLike[str]) -> dict[tuple[str, str | None], Fields]:
    """Return the records of a file by id and prompt (None where it has none).

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is no record, has no text and no error, or there are two
            of one id and prompt.
    """
    found: dict[tuple[str, str | None], Fields] = {}
    for record in read_lines(Path(path).expanduser()):
        key = record.value("id")
        if not isinstance(key, int | str) or isinstance(key, bool):
            raise record.error("id", "a whole number or a text")
        place = str(key), record.text("prompt", None)
        if place in found:
            raise ValueError(
                f"{record.source}: expected every id once, received "
                f"{short_repr(key)} twice."
            )
        if "error" not in record:
            record.text("text")  # What is no answer is told before what is missing.
        found[place] = record
    return found


def read_answer(record: Fields, truth: Truth) -> Answer:
    """Return the answer of a record.

    Args:
        record: Has `text`, and optionally `log_probability`, `num_tokens`,
            `probability`, and `things` or, for the boxes of the text, `scores`.
        truth: Tells the size of the picture, by which boxes of a text are in pixels.

    Raises:
        ValueError: if a field is of another kind, or there is another number of scores
            than of boxes.
    """
    answer = Answer(
        text=record.text("text"),
        log_probability=record.number("log_probability", None, at_most=1e-3),
        num_tokens=record.integer("num_tokens", None, at_least=0),
        probability=record.number("probability", None, at_least=0, at_most=1),
    )
    if "things" in record:
        return replace(answer, things=read_things(record, "things"))
    scores = record.items(
        "scores", lambda f, i: f.number(i, at_least=0, at_most=1), None
    )
    if scores is None:
        return answer
    found = parse_detections(answer.text, *width_and_height(truth))
    if len(found) != len(scores):
        raise record.error("scores", f"one of each of {len(found)} boxes in the text")
    return replace(answer, things=replace(found, scores=np.array(scores, np.float32)))


def answer_record(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON has it, for `read_answer`."""
    record: dict[str, Any] = {"text": answer.text}
    for name in ("log_probability", "num_tokens", "probability"):
        value = getattr(answer, name)
        if value is not None:
            record[name] = value
    if answer.things is not None:
        record["things"] = things_record(answer.things)
    return record


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON."""
    return json.dumps(record, ensure_ascii=False) + "\n"
