"""The forms of data that `fit`, `evaluate` and `predict` take.

Columns and sequences of rows, `keras.utils.PyDataset`, Grain's `MapDataset` and
`torch.utils.data.DataLoader` become batches that are read by their index and prepared
where they are read, in threads or in the processes of the data set. Data sets of
TensorFlow, Grain's iterators and generators are mapped as they are.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.datasets.loading import BatchesByEpoch
from keras_pg2.datasets.order import EpochOrder
from keras_pg2.preprocessing.images import is_array, to_numpy
from keras_pg2.tasks.training.feeding.batches import (
    Batch,
    are_rows,
    collate,
    is_rows,
    pack,
    unpack,
)
from keras_pg2.tasks.training.feeding.prepared import Prepare, PreparedBatches
from keras_pg2.tasks.training.feeding.tables import (
    NUM_BATCHES_AHEAD,
    Table,
    TableBatches,
)

Data: TypeAlias = Any
"""What `fit` takes, which says more; what cannot be fed is refused."""

_DEFAULT_BATCH_SIZE = 32


class Given(NamedTuple):
    """Data, with the labels and sample weights that were given beside it."""

    x: Data
    y: Any = None
    sample_weight: Any = None

    @property
    def is_table(self) -> bool:
        """Whether its rows are read by their index, and put into batches here."""
        if isinstance(self.x, Mapping | Table):
            return True
        if _is_data_set(self.x) or is_array(self.x) or isinstance(self.x, str | bytes):
            return False
        return hasattr(self.x, "__len__") and hasattr(self.x, "__getitem__")

    @property
    def is_generator(self) -> bool:
        """Whether it can be gone through but once."""
        return isinstance(self.x, Iterator)

    def split(self, validation_split: float) -> tuple[Given, Given]:
        """Return the first rows and the last ones.

        Raises:
            ValueError: if it is no table, or one of the parts would be empty.
        """
        if not self.is_table:
            raise ValueError(
                "Expected columns or a list of rows with validation_split. Received: "
                f"{type(self.x).__name__}, whose last rows are not known. Pass "
                "validation_data."
            )
        first, last = Table(*self).split(validation_split)
        return Given(first), Given(last)


def given(x: Data, y: Any = None, sample_weight: Any = None) -> Given:
    """Return data as `fit` is given it; `(x, y, sample_weight)` is taken apart.

    So are rows that have their weights beside them, in tuples `(row, None, weight)`.

    Raises:
        ValueError: if x is or has such tuples, and there are others beside it.
    """
    if not isinstance(x, tuple | list) or is_rows(x) or not x:
        return Given(x, y, sample_weight)
    if are_rows(x):
        x = collate(x)
        if len(x) == 1:  # Rows alone.
            return Given(x[0], y, sample_weight)
    if y is not None or sample_weight is not None:
        raise ValueError(
            "Expected labels and weights in the tuple x, or beside it. Received: a "
            f"{type(x).__name__} of {len(x)} as x, with y or sample_weight beside it."
        )
    return Given(*unpack(x))


def feed(
    data: Given,
    prepare: Prepare,
    batch_size: int | None = None,
    *,
    size_name: str = "batch_size",
    steps: int | None = None,
    shuffle: bool = False,
    is_trained: bool = False,
) -> Data:
    """Return what `keras.Model.fit` takes, its batches prepared.

    Args:
        data: a table, or a data set of batches.
        prepare: see `PreparedBatches`.
        batch_size: rows of a batch of a table; None divides it into `steps`, or takes
            32 rows.
        size_name: what the caller calls batch_size.
        steps: batches of an epoch, where they were given.
        shuffle: whether rows of a table, or batches of a `PyDataset`, have a new order
            in each pass.
        is_trained: whether it is for training, where a data set goes on to its next
            epoch.

    Raises:
        TypeError: for data in no such form.
        ValueError: for arguments that a data set has no use for, or empty columns.
    """
    if data.is_table:
        table = data.x if isinstance(data.x, Table) else Table(*data)
        if batch_size is None:
            size = math.ceil(len(table) / steps) if steps else _DEFAULT_BATCH_SIZE
        else:
            size = check_at_least_one(size_name, batch_size, ", or None")
        return PreparedBatches(TableBatches(table, size, shuffle), prepare, is_trained)
    if not (_is_data_set(data.x) or data.is_generator):
        raise TypeError(
            "Expected columns ({'images': [...], 'prompts': [...], 'responses': "
            "[...]}), a list of such rows, or batches of them: a PyDataset, "
            "DataLoader, tf.data or Grain data set, or a generator. Received: "
            f"{type(data.x).__name__}."
        )
    beside = {"y": data.y, "sample_weight": data.sample_weight}
    for name, value in {**beside, size_name: batch_size}.items():
        if value is not None:
            raise ValueError(
                f"Expected {name}=None beside a {type(data.x).__name__}, whose batches "
                f"have their own. Received: {type(value).__name__}. Put it into the "
                "data set; weights of rows in batches of (x, None, weights)."
            )
    return _feed_data_set(data.x, prepare, shuffle, is_trained)


def _feed_data_set(x: Data, prepare: Prepare, shuffle: bool, is_trained: bool) -> Data:
    is_py_dataset = isinstance(x, keras.utils.PyDataset)
    if shuffle and not (is_py_dataset and x.num_batches is not None):
        warnings.warn(
            "Expected a data set that shuffles its rows itself. Received: shuffle=True "
            f"with a {type(x).__name__}, whose order is not changed.",
            stacklevel=4,
        )
    elif shuffle:
        x = ShuffledBatches(x)
    if is_py_dataset:
        return PreparedBatches(x, prepare, is_trained)
    if _is_torch_loader(x):
        loader = _prepare_loader(x, prepare)
        return PreparedBatches(LoaderBatches(loader), pack) if _is_sized(x) else loader
    if _is_tensorflow(x):
        return _map_in_graph(x, prepare)
    if _is_grain_map(x):
        return PreparedBatches(IndexedBatches(x), prepare, is_trained)
    if _is_grain_iterator(x):
        return x.map(functools.partial(_prepare, prepare))
    return (_prepare(prepare, batch) for batch in x)


class ShuffledBatches(BatchesByEpoch):
    """Batches of a `PyDataset` in an order that is new in each epoch."""

    _epoch = 0

    def __init__(self, dataset: keras.utils.PyDataset) -> None:
        super().__init__(dataset.workers, dataset.max_queue_size)
        self.dataset = dataset
        self.order = EpochOrder(
            dataset.num_batches, batch_size=1, seed=int(np.random.randint(2**31))
        )

    @property
    def epoch(self) -> int:
        """The epoch whose order it has; a data set inside goes on with it."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        inner = getattr(self, "dataset", None)
        if isinstance(inner, BatchesByEpoch):
            inner.epoch += epoch - self._epoch
        self._epoch = epoch

    def __len__(self) -> int:
        return self.order.num_batches

    def __getitem__(self, index: int) -> Batch:
        return self.dataset[int(self.order.rows(self.epoch)[index])]

    def on_epoch_begin(self) -> None:
        """Pass it on."""
        self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Pass it on."""
        self.dataset.on_epoch_end()


class IndexedBatches(BatchesByEpoch):
    """A `grain.MapDataset` of batches, whose number Keras would not learn otherwise."""

    def __init__(self, data: Data) -> None:
        super().__init__(os.cpu_count() or 1, NUM_BATCHES_AHEAD)
        is_endless = len(data) >= sys.maxsize
        self.length = None if is_endless else len(data)
        # Batches of later epochs follow those of the first, in an order of their own.
        self.data = data if is_endless else data.repeat()

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None without an end."""
        return self.length

    def __getitem__(self, index: int) -> Batch:
        return self.data[self.epoch * (self.length or 0) + index]


class LoaderBatches(keras.utils.PyDataset):
    """A `DataLoader` of known length, read one batch after another."""

    def __init__(self, loader: Data) -> None:
        super().__init__()
        self.loader = loader
        self._iterator: Iterator[Batch] = iter(())

    def __len__(self) -> int:
        return len(self.loader)

    def __getitem__(self, index: int) -> Batch:
        if index == 0:
            self._iterator = iter(self.loader)
        # None, where there are no labels, has no branches.
        return keras.tree.map_structure(
            to_numpy, next(self._iterator), none_is_leaf=False
        )


def _prepare_loader(loader: Data, prepare: Prepare) -> Data:
    """Return a copy whose batches are prepared where the loader reads them."""
    import torch

    own = loader.collate_fn
    # It stacks what has one size, and takes pictures of a row for those of a batch.
    is_default = own is torch.utils.data.default_collate
    prepared = copy.copy(loader)
    prepared.collate_fn = functools.partial(
        _collate_and_prepare, prepare, _collate_rows if is_default else own
    )
    return prepared


def _collate_rows(elements: list[Any]) -> Batch:
    import torch

    rows = [unpack(element)[0] for element in elements]
    if all(isinstance(row, Mapping) and "prompts" in row for row in rows):
        return collate(elements)
    return torch.utils.data.default_collate(elements)


def _collate_and_prepare(prepare: Prepare, collate_fn: Any, elements: Any) -> Batch:
    import torch

    batch = _prepare(prepare, collate_fn(elements))
    return keras.tree.map_structure(torch.as_tensor, batch, none_is_leaf=False)


def _map_in_graph(data: Data, prepare: Prepare) -> Data:
    import tensorflow as tf

    mapped = data.map(
        tf.autograph.experimental.do_not_convert(prepare),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return mapped.prefetch(tf.data.AUTOTUNE)


def _prepare(prepare: Prepare, batch: Batch) -> Batch:
    return prepare(*unpack(batch))


def _is_data_set(x: Data) -> bool:
    """Return whether it gives batches, as they are put together there."""
    kinds = (_is_torch_loader, _is_tensorflow, _is_grain_map, _is_grain_iterator)
    return isinstance(x, keras.utils.PyDataset) or any(is_kind(x) for is_kind in kinds)


def _is_torch_loader(x: Data) -> bool:
    # Who has one has imported torch.
    torch_data = sys.modules.get("torch.utils.data")
    return torch_data is not None and isinstance(x, torch_data.DataLoader)


def _is_tensorflow(x: Data) -> bool:
    return hasattr(x, "as_numpy_iterator") and hasattr(x, "element_spec")


def _is_grain_map(x: Data) -> bool:
    return hasattr(x, "to_iter_dataset")


def _is_grain_iterator(x: Data) -> bool:
    return hasattr(x, "mp_prefetch")


def _is_sized(loader: Data) -> bool:
    try:
        return len(loader) >= 0
    except TypeError:  # An iterable data set, or a sampler, without a length.
        return False
