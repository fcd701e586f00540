from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.attention import dot_product_attention, soft_cap


def attend_by_loops(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray,
    scale: float,
    cap: float | None,
) -> np.ndarray:
    """The definition, one query head at a time, in float64."""
    batch, num_heads, length, _ = query.shape
    heads_per_key = num_heads // key.shape[1]
    output = np.zeros(query.shape)
    for b in range(batch):
        for n in range(num_heads):
            k = n // heads_per_key
            for t in range(length):
                logits = key[b, k] @ query[b, n, t] * scale
                if cap is not None:
                    logits = cap * np.tanh(logits / cap)
                weights = np.exp(logits - logits.max()) * mask[b, t]
                output[b, n, t] = weights / weights.sum() @ value[b, k]
    return output


def attend(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray | None,
    scale: float,
    cap: float | None,
) -> np.ndarray:
    tensors = (ops.convert_to_tensor(x) for x in (query, key, value))
    mask = None if mask is None else ops.convert_to_tensor(mask)
    return ops.convert_to_numpy(dot_product_attention(*tensors, mask, scale, cap))


@pytest.mark.parametrize("cap", [None, 2.0])
def test_grouped_queries_against_loops(cap: float | None) -> None:
    rng = np.random.default_rng(0)
    query = 2 * rng.normal(size=(2, 6, 3, 4)).astype("float32")
    key, value = rng.normal(size=(2, 2, 2, 5, 4)).astype("float32")
    mask = rng.random((2, 3, 5)) < 0.6
    mask[..., 0] = True
    output = attend(query, key, value, mask, 0.7, cap)
    expected = attend_by_loops(query, key, value, mask, 0.7, cap)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_without_a_mask_every_key_is_seen() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(3, 1, 2, 4, 4)).astype("float32")
    everything = np.ones((1, 4, 4), bool)
    np.testing.assert_allclose(
        attend(query, key, value, None, 0.5, None),
        attend_by_loops(query, key, value, everything, 0.5, None),
        atol=1e-5,
    )


def test_soft_cap() -> None:
    x = np.array([-1000.0, -0.01, 0.0, 0.01, 1000.0], "float32")
    capped = ops.convert_to_numpy(soft_cap(x, 30.0))
    np.testing.assert_allclose(capped, [-30, -0.01, 0, 0.01, 30], rtol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(soft_cap(x, None)), x)
