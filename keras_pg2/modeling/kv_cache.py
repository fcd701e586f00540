"""The key/value cache of the decoder: a value, written by pure functions.

Every row of a batch is written at the same index, after the longest prompt;
which slots a row really owns is said by the token layout (attention_mask.py),
not by the cache.

Axes: B batch, T new tokens, S cache length, K key/value heads, H head_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

Tensor = Any


class LayerCache(NamedTuple):
    """Keys and values one layer has seen, each float[B, K, S, H]."""

    key: Tensor
    value: Tensor


KVCache = tuple[LayerCache, ...]
"""One `LayerCache` per decoder layer."""


def empty_cache(
    num_layers: int, shape: tuple[int, int, int, int], dtype: str
) -> KVCache:
    """Makes a cache of zeros.

    Args:
        num_layers: number of decoder layers.
        shape: (B, K, S, H).
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
        cache: float[B, K, S, H] keys and values.
        key: float[B, K, T, H].
        value: float[B, K, T, H].
        index: int32 scalar, the first slot to write, the same for all rows.
    """
    return LayerCache(
        _write(cache.key, ops.cast(key, cache.key.dtype), index),
        _write(cache.value, ops.cast(value, cache.value.dtype), index),
    )


def _write(slots: Tensor, new: Tensor, index: Tensor) -> Tensor:
    if keras.config.backend() == "torch":
        # `slice_update` copies the whole tensor there, at every step.
        places = ops.arange(new.shape[2], dtype="int32") + index
        return slots.index_copy_(2, places.long(), new)
    return ops.slice_update(slots, (0, 0, index, 0), new)


def repeat_rows(cache: KVCache, num_copies: int) -> KVCache:
    """Every row `num_copies` times, one after another: [B * copies, K, S, H]."""
    num_rows = ops.shape(cache[0].key)[0] * num_copies
    # Not `ops.repeat`: on PyTorch its copies share their memory.
    rows = ops.arange(num_rows, dtype="int32") // num_copies
    return tuple(
        LayerCache(*(ops.take(slots, rows, axis=0) for slots in layer))
        for layer in cache
    )


def reorder_rows(cache: KVCache, rows: Tensor, start: int) -> KVCache:
    """Row b becomes what row `rows[b]` was, from slot `start` on.

    Rows of one prompt are the same before that, so only the answers move.

    Args:
        cache: float[B, K, S, H] keys and values of each layer, used up.
        rows: int32[B].
        start: the first slot that differs.
    """

    def moved(slots: Tensor) -> Tensor:
        return ops.take(slots[:, :, start:], rows, axis=0)

    return tuple(
        write(layer, moved(layer.key), moved(layer.value), start) for layer in cache
    )
