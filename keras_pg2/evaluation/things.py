"""Things found in a picture, and what is true of it, as JSON has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.thing_records import read_things, things_record
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

THINGS = "things"
"""Key of an object that stands for `Detections`."""


def truth_record(truth: Truth) -> dict[str, Any]:
    """Return what is true as JSON has it."""
    record: dict[str, Any] = {"answers": list(truth.answers)}
    if truth.kind:
        record["kind"] = truth.kind
    if truth.things is not None:
        record[THINGS] = things_record(truth.things)
    if truth.size is not None:
        record["size"] = [int(side) for side in truth.size]
    if truth.details:
        record["details"] = as_json(truth.details)
    return record


def read_truth(fields: Fields) -> Truth:
    """Return what is true, of what `truth_record` made.

    Raises:
        ValueError: if a field is of another kind.
    """
    size = fields.items("size", lambda f, i: f.integer(i, at_least=1), None)
    if size is not None and len(size) != 2:
        raise fields.error("size", "height and width")
    details = fields.fields("details", {})
    return Truth(
        answers=tuple(fields.items("answers", Fields.text)),
        kind=fields.text("kind", ""),
        things=read_things(fields, THINGS) if THINGS in fields else None,
        size=None if size is None else (size[0], size[1]),
        details={name: _from_json(details, name) for name in details},
    )


def as_json(value: Any) -> Any:
    """Return a value of plain Python, of which JSON can be made.

    Raises:
        TypeError: if there is something in it that JSON has no word for.
    """
    if isinstance(value, Detections):
        return {THINGS: things_record(value)}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        several = (
            sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        )
        return [as_json(each) for each in several]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(
        f"Expected details of plain numbers and texts, received {type(value).__name__}."
    )


def _from_json(fields: Fields, name: str) -> Any:
    value = fields.value(name)
    if isinstance(value, dict) and value.keys() == {THINGS}:
        return read_things(fields.fields(name), THINGS)
    return value
