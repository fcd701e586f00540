"""The key/value cache of the decoder: a value, written by pure functions.

Every row of a batch is written at the same index, after the longest prompt;
which slots a row really owns is said by the token layout (attention_mask.py),
not by the cache.

Axes: B batch, T new tokens, S cache length, K key/value heads, H head_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

Tensor = Any


class LayerCache(NamedTuple):
    """Keys and values one layer has seen, each float[B, S, K, H]."""

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
        shape: (B, S, K, H).
        dtype: the decoder's compute dtype.
    """
    return tuple(
        LayerCache(ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype=dtype))
        for _ in range(num_layers)
    )


def write(cache: LayerCache, key: Tensor, value: Tensor, index: Tensor) -> LayerCache:
    """Returns `cache` with T new keys and values from slot `index` on.

    Args:
        cache: float[B, S, K, H] keys and values.
        key: float[B, T, K, H].
        value: float[B, T, K, H].
        index: int32 scalar, the first slot to write, the same for all rows.
    """
    start = (0, index, 0, 0)
    return LayerCache(
        ops.slice_update(cache.key, start, ops.cast(key, cache.key.dtype)),
        ops.slice_update(cache.value, start, ops.cast(value, cache.value.dtype)),
    )
