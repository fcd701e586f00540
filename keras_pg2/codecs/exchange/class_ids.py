"""Between labels and the numbers that other forms have for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def id_of(label: str, ids: Mapping[str, int]) -> int:
    """The number of a label.

    Raises:
        ValueError: when it has none.
    """
    if label not in ids:
        raise ValueError(
            f"Expected a class for every label, received the label {label!r} and the "
            f"classes {shown(ids)}. Add it, or leave its detections out with `take`."
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


def name_of(class_id: int, names: Mapping[int, str] | Sequence[str]) -> str:
    """The label of a number.

    Raises:
        ValueError: when it has none.
    """
    known = names if isinstance(names, Mapping) else dict(enumerate(names))
    if class_id not in known:
        raise ValueError(
            f"Expected a name for every class, received the class {class_id} and the "
            f"names of {shown(known)}. Pass the names the numbers were made with."
        )
    return known[class_id]


def fill_scores(values: Sequence[float | None]) -> np.ndarray | None:
    """float32[N] scores, None where nothing has one.

    What has none beside others that have one was added by hand, and is sure: 1.
    """
    if all(value is None for value in values):
        return None
    return np.array([1.0 if value is None else value for value in values], np.float32)


def shown(names: Iterable[object]) -> str:
    """The first names, for an error message."""
    listed = [repr(name) for name in names]
    return ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")
