"""Data sets of Keras and of PyTorch on their way to `fit` and `evaluate`.

KerasHub prepares what lies in arrays, `tf.data` and Grain by itself. Here the others
are: a `keras.utils.PyDataset` and a `torch.utils.data.DataLoader` of batches as the
preprocessor takes them. Their batches are prepared where they are read, in the threads
or processes of the data set.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import keras

Data: TypeAlias = Any
"""What `fit` takes, which says more; what cannot be fed is refused."""
Batch: TypeAlias = Any
"""A dict of columns, or a tuple of that, None and sample weights; later arrays."""
Prepare: TypeAlias = Callable[..., Batch]
"""A preprocessor's call, `(x, y, sample_weight) -> (x, y, weights)`."""


class PreparedBatches(keras.utils.PyDataset):
    """A `PyDataset` whose batches went through a preprocessor.

    Where the data set has several workers, threads read the next batches of the epoch
    ahead. (Those of Keras 3.15 give batches of one epoch to another: what they read
    ahead when `fit` looks at the first batch stays in their queue.)

    Args:
        dataset: of dicts of images, prompts and responses, or of tuples of such a
            dict, None and sample weights.
        prepare: the preprocessor's call.
    """

    def __init__(self, dataset: keras.utils.PyDataset, prepare: Prepare) -> None:
        super().__init__()
        self.dataset = dataset
        self.prepare = prepare
        self._reading: dict[int, Future] = {}
        self._threads = (
            ThreadPoolExecutor(dataset.workers) if dataset.workers > 1 else None
        )

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None for a data set without an end."""
        return self.dataset.num_batches

    def __getitem__(self, index: int) -> Batch:
        if self._threads is None:
            return self._read(index)
        last = index + self.dataset.max_queue_size
        if self.num_batches is not None:
            last = min(last, self.num_batches - 1)
        for i in range(index, last + 1):
            if i not in self._reading:
                self._reading[i] = self._threads.submit(self._read, i)
        return self._reading.pop(index).result()

    def _read(self, index: int) -> Batch:
        return _prepared(self.prepare, self.dataset[index])

    def on_epoch_begin(self) -> None:
        """Passes it on."""
        self._forget()
        self.dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Passes it on."""
        self._forget()
        self.dataset.on_epoch_end()

    def _forget(self) -> None:
        """Drop what was read ahead, which is of another epoch."""
        reading, self._reading = self._reading, {}
        for future in reading.values():
            future.cancel()


class ColumnBatches(keras.utils.PyDataset):
    """Slices of columns, as `{"images": [...], "prompts": [...], "responses": [...]}`.

    Args:
        data: columns of one length; or a tuple of columns, None and sample weights.
        batch_size: rows of a batch.

    Raises:
        ValueError: when columns are of different lengths, or empty.
    """

    def __init__(self, data: Data, batch_size: int) -> None:
        super().__init__()
        x, y, self.sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None:
            raise ValueError(
                "Expected y=None, received labels: they are made of the responses."
            )
        self.columns = dict(x)
        self.batch_size = batch_size
        lengths = {key: len(column) for key, column in self.columns.items()}
        self.length = min(lengths.values(), default=0)
        if self.length == 0 or len(set(lengths.values())) > 1:
            raise ValueError(
                f"Expected columns of one length above 0, received {lengths}."
            )

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        x = {key: column[part] for key, column in self.columns.items()}
        if self.sample_weight is None:
            return x
        return x, None, self.sample_weight[part]


class IndexedBatches(keras.utils.PyDataset):
    """A `grain.MapDataset` of batches, whose number Keras would not learn otherwise."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        return self.data[index]


def is_loader(data: Data) -> bool:
    """True for what KerasHub does not prepare, but this file does."""
    return isinstance(data, keras.utils.PyDataset) or _is_torch_loader(data)


def prepare_data(data: Data, prepare: Prepare, batch_size: int) -> Data:
    """What `keras.Model.fit` takes, its batches prepared.

    Args:
        data: a `PyDataset`, a `DataLoader`, a `tf.data` or Grain data set of batches,
            or columns, which are cut in batches.
        prepare: see `PreparedBatches`.
        batch_size: of columns.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(data, keras.utils.PyDataset):
        return PreparedBatches(data, prepare)
    if _is_torch_loader(data):
        return _prepare_torch(data, prepare)
    if isinstance(data, Mapping | tuple):
        return PreparedBatches(ColumnBatches(data, batch_size), prepare)
    if hasattr(data, "as_numpy_iterator"):
        return data.map(prepare)
    if hasattr(data, "to_iter_dataset"):
        return PreparedBatches(IndexedBatches(data), prepare)
    if hasattr(data, "mp_prefetch"):
        return data.map(functools.partial(_prepared, prepare))
    raise TypeError(
        "Expected a PyDataset, DataLoader, tf.data or Grain data set, or a dict of "
        f"images, prompts and responses; received {type(data).__name__}."
    )


def _prepare_torch(data: Data, prepare: Prepare) -> Data:
    import torch

    collate = data.collate_fn

    def collate_and_prepare(rows: Batch) -> Batch:
        batch = _prepared(prepare, collate(rows))
        return keras.tree.map_structure(torch.as_tensor, batch)

    prepared = copy.copy(data)
    prepared.collate_fn = collate_and_prepare
    return prepared


def _prepared(prepare: Prepare, batch: Batch) -> Batch:
    return prepare(*keras.utils.unpack_x_y_sample_weight(batch))


def _is_torch_loader(data: Data) -> bool:
    # Who has one has imported torch.
    torch_data = sys.modules.get("torch.utils.data")
    return torch_data is not None and isinstance(data, torch_data.DataLoader)
