from __future__ import annotations

import numpy as np
from keras import ops

from keras_pg2.modeling.kv_cache import LayerCache, empty_cache, write


def test_empty_cache() -> None:
    cache = empty_cache(3, (2, 5, 1, 4), "bfloat16")
    assert len(cache) == 3
    assert all(isinstance(layer, LayerCache) for layer in cache)
    assert ops.dtype(cache[0].key) == "bfloat16"
    assert tuple(cache[2].value.shape) == (2, 5, 1, 4)
    assert not ops.convert_to_numpy(ops.cast(cache[1].key, "float32")).any()


def test_write_changes_the_slots_from_index_on_and_no_others() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(2, 2, 6, 1, 4)).astype("float32")
    key, value = rng.normal(size=(2, 2, 3, 1, 4)).astype("float32")
    cache = LayerCache(*(ops.convert_to_tensor(x) for x in old))
    written = write(cache, ops.convert_to_tensor(key), ops.convert_to_tensor(value), 2)
    for before, new, after in zip(old, (key, value), written):
        expected = before.copy()
        expected[:, 2:5] = new
        np.testing.assert_array_equal(ops.convert_to_numpy(after), expected)


def test_write_leaves_the_old_value_alone() -> None:
    cache = empty_cache(1, (1, 3, 1, 2), "float32")[0]
    ones = ops.ones((1, 1, 1, 2))
    write(cache, ones, ones, ops.convert_to_tensor(1, "int32"))
    assert not ops.convert_to_numpy(cache.key).any()
