"""Rows that are read by their index, in batches: columns, or a sequence of rows."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from keras_pg2.datasets.loading import BatchesByEpoch
from keras_pg2.datasets.order import EpochOrder
from keras_pg2.datasets.rows import (
    Rows,
    check_picture_counts,
    check_picture_files,
    columns,
    source_of,
)
from keras_pg2.preprocessing.examples import KEYS
from keras_pg2.preprocessing.images import holds_texts, is_array, is_picture, to_numpy
from keras_pg2.preprocessing.packing import read_weights
from keras_pg2.tasks.training.feeding.batches import (
    collate,
    pack,
    read_batch,
    unpack,
    with_images,
)

NUM_BATCHES_AHEAD = 4


class Table:
    """Rows that are read by their index.

    Args:
        x: columns of one length, as `{"images": [...], "prompts": [...], ...}`; or a
            sequence of such rows, whose pictures may be decoded as they are read.
        y: labels [N, ...]; None where the preprocessor makes them.
        sample_weight: a weight for each row [N], or for each label; None for 1.

    Raises:
        TypeError: if a column is no list or array, or rows are no dicts.
        ValueError: if columns are of different lengths, there is no row, or a weight
            is below 0, NaN or infinite.
    """

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self._name_of: Callable[[int], str] = partial(source_of, x)
        if isinstance(x, list | Rows):
            x = columns(x)
        if isinstance(x, Mapping):
            x = with_images(x)
            length = _num_rows(x)
            self._x: Any = {key: _column(key, x[key], length) for key in x}
        else:
            self._x, length = x, len(x)
            _check_first_row(x)
        beside = {"y": y, "sample_weight": sample_weight}
        lengths = {k: _length(k, v) for k, v in beside.items() if v is not None}
        if length == 0 or set(lengths.values()) - {length}:
            raise ValueError(
                "Expected at least one row, and an entry of y and sample_weight for "
                f"each. Received: {_in_words({'rows': length, **lengths})}."
            )
        self._beside = {
            key: None if value is None else to_numpy(value)
            for key, value in beside.items()
        }
        if sample_weight is not None:
            read_weights(self._beside["sample_weight"], self._name_of)
        self.indices = np.arange(length)

    def __len__(self) -> int:
        return len(self.indices)

    def check_pictures(self, is_batched: bool) -> None:
        """Raise before any work if pictures of rows in memory cannot be fed.

        Args:
            is_batched: whether rows of one batch have to have as many pictures.

        Raises:
            FileNotFoundError, PermissionError: if a picture is missing or may not be
                read.
            ValueError: if rows have different numbers of pictures.
        """
        images: Any = self._x.get("images") if isinstance(self._x, dict) else None
        is_list = isinstance(images, list | tuple)
        if is_list and is_batched:
            check_picture_counts(images, self._name_of)
        if is_list or (is_array(images) and holds_texts(images)):
            check_picture_files(images, self._name_of)

    def read(self, indices: np.ndarray) -> tuple[Any, ...]:
        """Return some rows as a batch, with their labels and weights."""
        indices = self.indices[indices]
        y, weights = (
            None if column is None else column[indices]
            for column in self._beside.values()
        )
        if isinstance(self._x, dict):
            return pack(
                {key: _take(column, indices) for key, column in self._x.items()},
                y,
                weights,
            )
        x, own_y, own_weights = unpack(collate([self._x[i] for i in indices.tolist()]))
        x = read_batch(x)
        if isinstance(x.get("images"), list):
            check_picture_counts(x["images"], lambda i: self._name_of(indices[i]))
        return pack(
            x,
            own_y if y is None else y,
            own_weights if weights is None else weights,
        )

    def split(self, validation_split: float) -> tuple[Table, Table]:
        """Return the first rows and the last ones, as `keras.Model.fit` documents.

        Args:
            validation_split: share of the last ones.

        Raises:
            ValueError: if one of the two would be empty.
        """
        first = math.floor(len(self) * (1.0 - validation_split))
        if not 0 < first < len(self):
            raise ValueError(
                "Expected validation_split to leave rows for training and for "
                f"validation. Received: {validation_split} of {len(self)} rows."
            )
        parts = copy.copy(self), copy.copy(self)
        parts[0].indices = self.indices[:first]
        parts[1].indices = self.indices[first:]
        return parts


class TableBatches(BatchesByEpoch):
    """Batches of a table, read by as many threads as there are cores.

    Args:
        table: the rows.
        batch_size: rows of a batch.
        shuffle: whether each epoch has a new order, which depends on
            `keras.utils.set_random_seed`.

    Raises:
        FileNotFoundError, PermissionError: if a picture is missing or may not be read.
        ValueError: if batch_size is below 1, or rows of one batch could have different
            numbers of pictures.
    """

    def __init__(self, table: Table, batch_size: int, shuffle: bool = False) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=NUM_BATCHES_AHEAD)
        # By NumPy's own generator, which Keras seeds on every backend.
        seed = int(np.random.randint(2**31)) if shuffle else 0
        self.order = EpochOrder(len(table), batch_size, shuffle, seed)
        table.check_pictures(is_batched=batch_size > 1)
        self.table = table

    def __len__(self) -> int:
        return self.order.num_batches

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        start = index * self.order.batch_size
        rows = self.order.rows(self.epoch)
        return self.table.read(rows[start : start + self.order.batch_size])


def _check_first_row(rows: Any) -> None:
    """Raise TypeError if what has a length and indices has no rows."""
    if len(rows) == 0:
        return
    try:
        row = unpack(rows[0])[0]
    except (KeyError, TypeError, ValueError):
        row = None
    if not isinstance(row, Mapping):
        raise TypeError(
            f"Expected rows as dicts of {', '.join(KEYS)}. Received: "
            f"{type(rows).__name__} of {type(row).__name__}. Pass a list of such rows, "
            "or columns: for a table of pandas table.to_dict('list')."
        )


def _num_rows(x: Mapping[str, Any]) -> int:
    lengths = {
        key: _length(key, column)
        for key, column in x.items()
        if not _is_shared(key, column)
    }
    if len(set(lengths.values())) != 1:
        raise ValueError(
            "Expected columns of one length, with an entry for each row. Received: "
            f"{_in_words(lengths) or 'none'}."
        )
    return next(iter(lengths.values()))


def _is_shared(key: str, value: Any) -> bool:
    """Return whether all rows have this value: no picture, or one for all."""
    return value is None or (key == "images" and is_picture(value))


def _length(key: str, column: Any) -> int:
    has_no_length = not hasattr(column, "__len__") or getattr(column, "shape", 1) == ()
    if isinstance(column, str | bytes) or has_no_length:
        raise TypeError(
            f"Expected {key} as a list or an array, with an entry for each row. "
            f"Received: {type(column).__name__}."
        )
    return len(column)


def _column(key: str, value: Any, length: int) -> Any:
    """Return a column that is indexed by position: an array or a sequence."""
    if _is_shared(key, value):
        return [value] * length
    if is_array(value):
        return to_numpy(value)
    return value if isinstance(value, Sequence) else list(value)


def _take(column: Any, indices: np.ndarray) -> Any:
    if isinstance(column, np.ndarray):
        return column[indices]
    return [column[index] for index in indices.tolist()]


def _in_words(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{length} of {key}" for key, length in lengths.items())
