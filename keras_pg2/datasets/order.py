"""Which rows come in which epoch, for which machine, in which order.

`RowBatches` and `grain_batches` both follow it, so they give the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one


@dataclass(frozen=True)
class EpochOrder:
    """The order of rows in every epoch of one shard.

    All shards draw the same permutation and take every `num_shards`-th row of it, so
    that together they see each row once an epoch.

    Args:
        num_rows: rows in all shards together.
        batch_size: rows of a batch of this shard.
        shuffle: whether each epoch has a new order.
        seed: of the orders.
        shard_index: which shard, from 0.
        num_shards: how many.
        drop_remainder: leaves out what fills no batch; with several shards also what
            not all shards have, so that all have as many batches.

    Raises:
        ValueError: for numbers out of range, or when no batch is left.
    """

    num_rows: int
    batch_size: int
    shuffle: bool = True
    seed: int = 0
    shard_index: int = 0
    num_shards: int = 1
    drop_remainder: bool = False

    def __post_init__(self) -> None:
        check_at_least_one("batch_size", self.batch_size)
        if self.seed < 0:
            raise ValueError(f"Expected seed >= 0, received {self.seed}.")
        if not 0 <= self.shard_index < self.num_shards:
            raise ValueError(
                "Expected shard_index in 0..num_shards - 1, received "
                f"shard_index={self.shard_index}, num_shards={self.num_shards}."
            )
        if self.num_batches == 0:
            raise ValueError(
                f"Expected rows for at least one batch of {self.batch_size}, received "
                f"{self.num_rows} rows for {self.num_shards} shards with "
                f"drop_remainder={self.drop_remainder}. Lower batch_size."
            )

    @property
    def num_rows_of_shard(self) -> int:
        """Rows of this shard in an epoch, before batches are made."""
        surplus = 0 if self.drop_remainder else self.num_rows % self.num_shards
        return self.num_rows // self.num_shards + (self.shard_index < surplus)

    @property
    def num_batches(self) -> int:
        """Batches of this shard in an epoch."""
        full, rest = divmod(self.num_rows_of_shard, self.batch_size)
        return full + (rest > 0 and not self.drop_remainder)

    def rows(self, epoch: int) -> np.ndarray:
        """Places int[num_rows_of_shard] of the shard's rows in an epoch, from 0."""
        return _rows(self, epoch)

    def generator(self, epoch: int, row: int) -> np.random.Generator:
        """The random generator for the augmentations of a row in an epoch."""
        return np.random.default_rng([self.seed, epoch, 1, row])


@lru_cache(maxsize=4)
def _rows(order: EpochOrder, epoch: int) -> np.ndarray:
    if order.shuffle:
        rng = np.random.default_rng([order.seed, epoch, 0])
        indices = rng.permutation(order.num_rows)
    else:
        indices = np.arange(order.num_rows)
    return indices[order.shard_index :: order.num_shards][: order.num_rows_of_shard]
