"""Rows in shuffled batches, read in parallel, from any position.

Two ways with the same batches:

- `RowBatches`, a `keras.utils.PyDataset`, needs nothing but Keras. `fit` asks it for
  one batch after another.
- `grain_batches`, a `grain.MapDataset` (extra `finetune`), for `fit` and for loops of
  one's own: any batch by its place, iterators whose state can be kept and set again.

    batches = grain_batches(rows, batch_size=8, seed=1)
    model.fit(batches, epochs=3)                  # a new order in each epoch
    rest = batches.repeat(3)[resume_at:]          # from batch `resume_at` on

A batch is `{"images": [...], "prompts": [...], "responses": [...]}`, what the
preprocessor takes. Epochs, orders and augmentations depend on the seed alone, never on
what was read before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.datasets.augmentations import Augmentation, augment
from keras_pg2.datasets.order import EpochOrder
from keras_pg2.datasets.rows import (
    Row,
    check_picture_files,
    check_same_number_of_pictures,
    columns,
    paths_of,
    source_of,
)
from keras_pg2.preprocessing.images import ImageInput, load_rgb
from keras_pg2.preprocessing.resizing import stretch

if TYPE_CHECKING:
    import grain

Batch = dict[str, Any]


class RowReader:
    """A row by its place, augmented and decoded; the same for every way of loading.

    Args:
        rows: rows of images, prompts and responses.
        order: which rows come when.
        augmentations: changes of a row, in their order.
        image_size: height and width that pictures are stretched to, by the image
            converter's own filter; None leaves pictures to the preprocessor.
        epoch: the first epoch.

    Raises:
        FileNotFoundError, PermissionError: when a picture is not there or not readable.
        ValueError: when a row has other keys, or another number of pictures than the
            first beside which it could stand in a batch; when an option is out of
            range.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        order: EpochOrder,
        augmentations: Sequence[Augmentation] = (),
        image_size: int | None = None,
        epoch: int = 0,
    ) -> None:
        for row in rows:
            paths_of(row)
        if order.batch_size > 1:
            check_same_number_of_pictures(rows)
        check_picture_files((row["images"] for row in rows), partial(source_of, rows))
        if image_size is not None and image_size < 1:
            raise ValueError(f"Expected image_size >= 1, received {image_size}.")
        if epoch < 0:
            raise ValueError(f"Expected epoch >= 0, received {epoch}.")
        self.rows = rows
        self.order = order
        self.augmentations = tuple(augmentations)
        self.image_size = image_size
        self.epoch = epoch

    def read(self, position: int) -> Row:
        """The row at a position counted over all epochs of the shard."""
        epochs, offset = divmod(position, self.order.num_rows_of_shard)
        epoch = self.epoch + epochs
        index = int(self.order.rows(epoch)[offset])
        rng = self.order.generator(epoch, index)
        row = augment(self.rows[index], self.augmentations, rng)
        if self.image_size is None:
            return dict(row)
        images = row["images"]
        if isinstance(images, list | tuple):
            return {**row, "images": np.stack([self._decode(one) for one in images])}
        return {**row, "images": self._decode(images)}

    def _decode(self, image: ImageInput) -> np.ndarray:
        side = (self.image_size or 0, self.image_size or 0)
        levels = np.round(load_rgb(image, size=side)).astype(np.uint8)
        return stretch(levels, side, "bicubic", antialias=True)

    def as_batch(self, rows: Sequence[Row]) -> Batch:
        """Rows by columns; pictures of one size uint8[B, H, W, 3]."""
        batch: Batch = columns(rows)
        if self.image_size is not None:
            batch["images"] = np.stack(batch["images"])
        return batch


class BatchesByEpoch(keras.utils.PyDataset):
    """Batches that are other ones in each epoch, by the number of the epoch.

    Args:
        workers: threads in which `fit` reads batches.
        max_queue_size: batches that they read ahead.
        epoch: the first epoch.

    Attributes:
        epoch: the epoch whose batches it has. `PaliGemma2CausalLM.fit` counts it up
            with each pass, and leaves it at the next one.
    """

    epoch: int

    def __init__(
        self, workers: int = 1, max_queue_size: int = 10, epoch: int = 0
    ) -> None:
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        if epoch < 0:
            raise ValueError(f"Expected epoch >= 0, received {epoch}.")
        self.epoch = epoch


class RowBatches(BatchesByEpoch):
    """Batches of rows for `fit`, `evaluate` and loops of one's own.

    `epoch` says which order it has, and counts up in `PaliGemma2CausalLM.fit`; set it
    to go on with a later one.

    Args:
        rows: rows of images, prompts and responses.
        batch_size: rows of a batch.
        shuffle: whether each epoch has a new order.
        seed: of the orders and augmentations.
        epoch: the first epoch.
        shard_index: which part of the rows, from 0.
        num_shards: how many parts there are, as machines.
        drop_remainder: leaves out what fills no batch.
        augmentations: changes of a row, see `datasets.augmentations`.
        image_size: decodes pictures and stretches them to this size; None leaves them
            to the preprocessor.
        num_workers: threads in which `fit` reads batches; None for one a core.
        num_batches_ahead: batches that they read ahead.

    Raises:
        FileNotFoundError, PermissionError: when a picture is not there or not readable.
        ValueError: for rows with other keys, or of different numbers of pictures in
            batches of several; for numbers out of range, or when there is not one
            batch.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: int = 0,
        shard_index: int = 0,
        num_shards: int = 1,
        drop_remainder: bool = False,
        augmentations: Sequence[Augmentation] = (),
        image_size: int | None = None,
        num_workers: int | None = None,
        num_batches_ahead: int = 4,
    ) -> None:
        super().__init__(num_workers or os.cpu_count() or 1, num_batches_ahead, epoch)
        self.order = EpochOrder(
            num_rows=len(rows),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            shard_index=shard_index,
            num_shards=num_shards,
            drop_remainder=drop_remainder,
        )
        self.reader = RowReader(rows, self.order, augmentations, image_size)

    def __len__(self) -> int:
        return self.order.num_batches

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(
                f"Expected a batch in 0..{len(self) - 1}, received {index}."
            )
        length = self.order.num_rows_of_shard
        start = index * self.order.batch_size
        stop = min(start + self.order.batch_size, length)
        first = self.epoch * length
        return self.reader.as_batch(
            [self.reader.read(first + offset) for offset in range(start, stop)]
        )


def grain_batches(
    rows: Sequence[Row],
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
    shard_index: int = 0,
    num_shards: int = 1,
    drop_remainder: bool = False,
    augmentations: Sequence[Augmentation] = (),
    image_size: int | None = None,
) -> grain.MapDataset:
    """The batches of `RowBatches` as a `grain.MapDataset`, one epoch long.

    `repeat(n)` goes through n epochs with a new order in each, `[k:]` leaves out the
    first k batches, `to_iter_dataset(grain.ReadOptions(...))` reads ahead in threads
    with iterators of `get_state` and `set_state`; `fit` does the first and the last.

    The arguments are those of `RowBatches`.

    Raises:
        ImportError: when Grain is not installed.
        FileNotFoundError, PermissionError, ValueError: as `RowBatches`.
    """
    grain = _import_grain()
    order = EpochOrder(
        len(rows), batch_size, shuffle, seed, shard_index, num_shards, drop_remainder
    )
    reader = RowReader(rows, order, augmentations, image_size, epoch)
    # Positions beyond the length are those of later epochs, as Grain's own are.
    return (
        grain.MapDataset.source(range(order.num_rows_of_shard))
        .map_with_index(lambda position, _: reader.read(position))
        .batch(batch_size, drop_remainder=drop_remainder, batch_fn=reader.as_batch)
    )


def _import_grain() -> ModuleType:
    advice = (
        "Run: pip install 'keras-pg2[finetune]'. Or use RowBatches, which needs no "
        "package."
    )
    return import_packages("grain", advice=advice)[0]
