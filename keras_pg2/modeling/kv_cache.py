"""The key/value cache of the decoder: a value, written by pure functions.

Every row of a batch is written at the same index, after the longest prompt;
which slots a row really owns is said by the token layout (attention_mask.py),
not by the cache.

Rows and heads are one axis, as the products of attention take them. With an axis of
their own each, XLA's CPU code would write a slot once for the product and once for the
cache, and so copy every cache at every step.

Axes: B batch, T new tokens, S cache length, K key/value heads, H head_dim.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from keras_pg2.typing import Tensor


class LayerCache(NamedTuple):
    """Keys and values one layer has seen, each float[B * K, S, H]."""

    key: Tensor
    value: Tensor


KVCache = tuple[LayerCache, ...]
"""One `LayerCache` per decoder layer."""


def empty_cache(num_layers: int, shape: tuple[int, int, int], dtype: str) -> KVCache:
    """Makes a cache of zeros.

    Args:
        num_layers: number of decoder layers.
        shape: (B * K, S, H).
        dtype: the decoder's compute dtype.
    """
    return tuple(
        LayerCache(ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype=dtype))
        for _ in range(num_layers)
    )


def write(cache: LayerCache, key: Tensor, value: Tensor, index: Tensor) -> LayerCache:
    """Returns `cache` with T new keys and values from slot `index` on.

    The cache that is passed in is used up: PyTorch writes in place, and the compilers
    of JAX and TensorFlow do so where they see that nobody reads it again.

    Args:
        cache: float[B * K, S, H] keys and values.
        key: float[B, K, T, H].
        value: float[B, K, T, H].
        index: int32 scalar, the first slot to write, the same for all rows.
    """
    key, value = (ops.reshape(x, (-1, *ops.shape(x)[2:])) for x in (key, value))
    return LayerCache(_write(cache.key, key, index), _write(cache.value, value, index))


def _write(slots: Tensor, new: Tensor, index: Tensor) -> Tensor:
    """[B * K, S, H] with [B * K, T, H] from slot `index` on."""
    new = ops.cast(new, slots.dtype)
    if keras.config.backend() == "torch":
        # `slice_update` copies the whole tensor there, at every step.
        indices = ops.arange(new.shape[1], dtype="int32") + index
        return slots.index_copy_(1, indices.long(), new)
    return ops.slice_update(slots, (0, index, 0), new)


def read(slots: Tensor, num_heads: int, num_slots: int) -> Tensor:
    """The first slots of float[B * K, S, H], as float[B, K, num_slots, H]."""
    slots = slots[:, :num_slots]
    # B is not always known while a function is exported.
    return ops.reshape(slots, (-1, num_heads, *ops.shape(slots)[1:]))


def repeat_rows(cache: KVCache, batch_size: int, num_copies: int) -> KVCache:
    """Every row `num_copies` times, one after another: [B * copies * K, S, H]."""
    # Not `ops.repeat`: on PyTorch its copies share their memory.
    rows = ops.arange(batch_size * num_copies, dtype="int32") // num_copies

    def repeated(slots: Tensor) -> Tensor:
        return _take_rows(slots, batch_size, rows)

    return tuple(LayerCache(*map(repeated, layer)) for layer in cache)


def reorder_rows(cache: KVCache, rows: Tensor, start: int) -> KVCache:
    """Row b becomes what row `rows[b]` was, from slot `start` on.

    Rows of one prompt are the same before that, so only the answers move.

    Args:
        cache: float[B * K, S, H] keys and values of each layer, used up.
        rows: int32[B].
        start: the first slot that differs.
    """
    batch_size = ops.shape(rows)[0]

    def reordered(slots: Tensor) -> Tensor:
        moved = _take_rows(slots[:, start:], batch_size, rows)
        return _write(slots, moved, start)

    return tuple(LayerCache(*map(reordered, layer)) for layer in cache)


def _take_rows(slots: Tensor, batch_size: int, rows: Tensor) -> Tensor:
    """[B * K, S, H] -> [len(rows) * K, S, H]"""
    shape = ops.shape(slots)[1:]
    taken = ops.take(ops.reshape(slots, (batch_size, -1, *shape)), rows, axis=0)
    return ops.reshape(taken, (-1, *shape))
