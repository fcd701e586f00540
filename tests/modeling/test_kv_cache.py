from __future__ import annotations

import numpy as np
from keras import ops

from keras_pg2.modeling.kv_cache import (
    KVCache,
    LayerCache,
    empty_cache,
    read,
    reorder_rows,
    repeat_rows,
    write,
)


def test_empty_cache() -> None:
    cache = empty_cache(3, (2, 5, 4), "bfloat16")
    assert len(cache) == 3
    assert all(isinstance(layer, LayerCache) for layer in cache)
    assert ops.dtype(cache[0].key) == "bfloat16"
    assert tuple(cache[2].value.shape) == (2, 5, 4)
    assert not ops.convert_to_numpy(ops.cast(cache[1].key, "float32")).any()


def test_write_changes_the_slots_from_index_on_and_no_others() -> None:
    rng = np.random.default_rng(0)
    # Two rows of two heads each.
    old = rng.normal(size=(2, 4, 6, 4)).astype("float32")
    key, value = rng.normal(size=(2, 2, 2, 3, 4)).astype("float32")
    cache = LayerCache(*(ops.convert_to_tensor(x) for x in old))
    written = write(cache, ops.convert_to_tensor(key), ops.convert_to_tensor(value), 2)
    for before, new, after in zip(old, (key, value), written):
        expected = before.copy()
        expected[:, 2:5] = new.reshape(4, 3, 4)
        np.testing.assert_array_equal(ops.convert_to_numpy(after), expected)


def numbered_cache() -> KVCache:
    """Two layers of [B * K, S] = [2 * 2, 4], each slot with its own number."""
    numbers = np.arange(64, dtype="float32").reshape(2, 2, 4, 4, 1)
    return tuple(
        LayerCache(*(ops.convert_to_tensor(x) for x in layer)) for layer in numbers
    )


def test_repeat_rows() -> None:
    [first, _] = repeat_rows(numbered_cache(), 2, 3)
    rows = ops.convert_to_numpy(first.key)[..., 0].tolist()
    first_row = [[0, 1, 2, 3], [4, 5, 6, 7]]
    second_row = [[8, 9, 10, 11], [12, 13, 14, 15]]
    assert rows == first_row * 3 + second_row * 3


def test_reorder_rows_moves_only_what_comes_after_the_prompt() -> None:
    rows = ops.convert_to_tensor(np.array([1, 1], "int32"))
    [_, second] = reorder_rows(numbered_cache(), rows, 3)
    values = ops.convert_to_numpy(second.value)[..., 0].tolist()
    assert values == [
        [48, 49, 50, 59],
        [52, 53, 54, 63],
        [56, 57, 58, 59],
        [60, 61, 62, 63],
    ]


def test_read_is_the_first_slots_by_row_and_head() -> None:
    [first, _] = numbered_cache()
    slots = ops.convert_to_numpy(read(first.key, 2, 3))
    assert slots[..., 0].tolist() == [
        [[0, 1, 2], [4, 5, 6]],
        [[8, 9, 10], [12, 13, 14]],
    ]
