"""Between labels and the numbers that other forms have for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.files.json_fields import Fields


def id_of(label: str, ids: Mapping[str, int]) -> int:
    """The number of a label.

    Raises:
        ValueError: when it has none.
    """
    if label not in ids:
        raise ValueError(
            f"Expected a class for every label, received the label {label!r} and the "
            f"classes {listed(ids)}. Add it, or leave its detections out with `take`."
        )
    return int(ids[label])


def positions(names: Sequence[str]) -> dict[str, int]:
    """Each name's place in a list of class names, from 0.

    Raises:
        TypeError: when it is one text instead of a list.
        ValueError: when a name is there twice.
    """
    if isinstance(names, str):
        raise TypeError(f"Expected a list of class names, received {names!r}.")
    ids = {name: i for i, name in enumerate(names)}
    if len(ids) != len(names):
        twice = next(name for i, name in enumerate(names) if ids[name] != i)
        raise ValueError(f"Expected different class names, received {twice!r} twice.")
    return ids


def name_of(class_id: int | str, names: Mapping[Any, str] | Sequence[str]) -> str:
    """The label of a number.

    Raises:
        ValueError: when it has none.
    """
    known: Mapping[Any, str] = (
        names if isinstance(names, Mapping) else dict(enumerate(names))
    )
    if class_id not in known:
        raise ValueError(
            f"Expected a name for every class, received the class {shown(class_id)} "
            f"and the names of {listed(known)}. Pass the names the numbers were made "
            "with."
        )
    return known[class_id]


def fill_scores(values: Sequence[float | None]) -> np.ndarray | None:
    """float32[N] scores, None where nothing has one.

    What has none beside others that have one was added by hand, and is sure: 1.
    """
    if all(value is None for value in values):
        return None
    return np.array([1.0 if value is None else value for value in values], np.float32)


def read_id(fields: Fields, name: str) -> int | str:
    """Return an id of a COCO file, which other tools write as a text, or as 1.0.

    Raises:
        ValueError: if it is something else; names the file and the field.
    """
    found = fields.value(name)
    if isinstance(found, float) and found.is_integer():
        return int(found)
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise fields.error(name, "a whole number or a text")
    return found


def listed(names: Iterable[object]) -> str:
    """The first names, for an error message."""
    first = [shown(name) for name in islice(names, 11)]
    return ", ".join(first[:10]) + (", ..." if len(first) > 10 else "")
