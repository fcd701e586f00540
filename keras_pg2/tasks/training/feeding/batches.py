"""A batch in the forms that data sets give it, as columns for the preprocessor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_pg2.datasets.rows import columns
from keras_pg2.preprocessing.examples import KEYS
from keras_pg2.preprocessing.images import to_numpy

Batch: TypeAlias = Any
"""Columns, a list of rows, or a tuple of one of these, None and sample weights."""

_IMAGE = "image"
"""What data sets of one picture a row call the column of images."""


def is_rows(data: Any) -> bool:
    """Return whether data is a list of rows."""
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(row, Mapping) for row in data)
    )


def are_rows(elements: Sequence[Any]) -> bool:
    """Return whether these are rows, or tuples of a row, None and its weight.

    A tuple may also be one of columns, labels and weights: a row has one prompt.
    """
    return bool(elements) and all(map(_is_row, elements))


def unpack(batch: Batch) -> tuple[Any, Any, Any]:
    """Return data, labels and sample weights, as `keras.utils` does.

    There a list of rows would be a tuple of these three.
    """
    if is_rows(batch):
        return batch, None, None
    if isinstance(batch, tuple | list) and not 1 <= len(batch) <= 3:
        found = ", ".join(type(part).__name__ for part in batch[:8])
        raise ValueError(
            "Expected columns, rows, or a tuple of these, None and sample weights. "
            f"Received: a {type(batch).__name__} of {len(batch)} ({found or 'empty'})."
        )
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    return x, y, sample_weight


def pack(x: Any, y: Any = None, sample_weight: Any = None) -> tuple[Any, ...]:
    """Return a tuple without the Nones at its end.

    `keras.utils.pack_x_y_sample_weight` loses weights where there are no labels.
    """
    if sample_weight is not None:
        return x, y, sample_weight
    return (x,) if y is None else (x, y)


def read_batch(x: Any) -> dict[str, Any]:
    """Return the columns of a batch: images, prompts and responses.

    Args:
        x: a dict of columns or a list of rows; images may be called "image".

    Raises:
        TypeError: if it is neither.
        ValueError: if it is one row, or rows have different keys.
    """
    if is_rows(x):
        x = columns(with_images(row) for row in x)
    if not isinstance(x, Mapping):
        raise TypeError(
            f"Expected a batch as a dict of columns ({', '.join(KEYS)}) or a list of "
            f"rows. Received: {type(x).__name__}. Pass a data set of such batches."
        )
    if "prompts" in x and _is_single(x["prompts"]):
        raise ValueError(
            "Expected batches, with a list of prompts in each. Received: one row, with "
            f"prompts={x['prompts']!r:.60}. Put rows into batches, as .batch(8) does "
            "with data sets of TensorFlow and Grain; or pass a list of rows."
        )
    return with_images(x)


def collate(elements: Sequence[Any]) -> tuple[Any, ...]:
    """Return rows as one batch of columns; nothing is stacked or converted.

    Args:
        elements: rows, or tuples of a row, None and its weight.
    """
    xs, ys, weights = zip(*map(unpack, elements))
    return pack(list(xs), _unless_none(ys), _unless_none(weights))


def with_images(x: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row or columns, whose pictures are called "images"."""
    if "images" in x:
        return dict(x)
    return {"images" if key == _IMAGE else key: value for key, value in x.items()}


def _is_row(element: Any) -> bool:
    row = element[0] if isinstance(element, tuple) and element else element
    return isinstance(row, Mapping) and _is_single(row.get("prompts"))


def _unless_none(values: Iterable[Any]) -> np.ndarray | None:
    values = list(values)
    if all(value is None for value in values):
        return None
    return np.stack([to_numpy(value) for value in values])


def _is_single(texts: Any) -> bool:
    """Return whether it is one text: `str`, or a scalar, also of a graph."""
    if isinstance(texts, str | bytes):
        return True
    shape = getattr(texts, "shape", None)
    if shape is None:
        return False
    return bool((shape.rank if hasattr(shape, "rank") else len(shape)) == 0)
