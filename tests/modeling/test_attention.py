from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling import attention
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


@pytest.mark.parametrize("block", [5, 4, 12])
def test_blocks_of_queries_are_the_whole(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    query, key, value = (
        ops.convert_to_tensor(rng.normal(size=(2, heads, 12, 8)).astype("float32"))
        for heads in (4, 2, 2)
    )
    mask = ops.convert_to_tensor(np.tril(np.ones((2, 12, 12), bool)))
    whole = dot_product_attention(query, key, value, mask, 0.5, 30.0)
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    parts = dot_product_attention(query, key, value, mask, 0.5, 30.0)
    np.testing.assert_allclose(
        ops.convert_to_numpy(parts), ops.convert_to_numpy(whole), atol=1e-6
    )


@pytest.mark.skipif(
    keras.config.backend() != "jax", reason="JAX tells what its compiler takes."
)
def test_gradients_have_the_logits_of_few_blocks_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import jax

    num_heads, length, block = 4, 2048, 256
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)

    def loss(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return ops.sum(dot_product_attention(query, key, value, None, 0.1) ** 2)

    shape = jax.ShapeDtypeStruct((1, num_heads, length, 8), np.float32)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    compiled = gradients.lower(shape, shape, shape).compile()
    logits = 4 * num_heads * block * length
    # Of the eight blocks. All at a time, as XLA's CPU code has them if it may: 25.
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * logits
