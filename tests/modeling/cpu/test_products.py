from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.cpu import plain_forms, products
from keras_pg2.modeling.cpu.products import (
    first_largest,
    multiply_by_kernel,
    multiply_by_keys,
    multiply_by_vocabulary,
)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize("num_inputs", [12, 132, 1032, 133])
@pytest.mark.parametrize("num_outputs", [1024, 1023])
@pytest.mark.parametrize("leading", [(1, 1), (1,), (2, 3)])
def test_multiply_by_kernel(
    leading: tuple[int, ...], num_inputs: int, num_outputs: int
) -> None:
    x, kernel = normal(*leading, num_inputs), normal(num_inputs, num_outputs)
    row = ops.convert_to_tensor(x)
    # As Keras lays it out, and as files of Hugging Face do.
    for tensor in (
        ops.convert_to_tensor(kernel),
        ops.transpose(ops.convert_to_tensor(kernel.T.copy())),
    ):
        result = multiply_by_kernel(row, tensor)
        assert tuple(result.shape) == (*leading, num_outputs)
        np.testing.assert_allclose(
            ops.convert_to_numpy(result), x @ kernel, rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_multiply_by_keys(dtype: str, num_queries: int) -> None:
    query, keys = (
        ops.cast(ops.convert_to_tensor(array), dtype)
        for array in (normal(2, num_queries, 8), normal(2, 13, 8))
    )
    result = multiply_by_keys(query, keys)
    assert ops.dtype(result) == dtype
    a, b = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (query, keys))
    # bfloat16 keeps eight bits.
    tolerance = 1e-5 if dtype == "float32" else 0.05
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(result, "float32")),
        np.einsum("bqh,bsh->bqs", a, b),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("vocabulary_size", [192, 101])
@pytest.mark.parametrize("leading", [(1,), (2,), (7,), (33,), (2, 3)])
def test_multiply_by_vocabulary(leading: tuple[int, ...], vocabulary_size: int) -> None:
    hidden, table = normal(*leading, 24), normal(vocabulary_size, 24)
    result = multiply_by_vocabulary(*map(ops.convert_to_tensor, (hidden, table)))
    assert tuple(result.shape) == (*leading, vocabulary_size)
    np.testing.assert_allclose(
        ops.convert_to_numpy(result), hidden @ table.T, rtol=1e-5, atol=1e-5
    )


def test_other_dtypes_and_symbolic_shapes_are_multiplied_as_keras_does() -> None:
    x, kernel = (
        ops.cast(ops.convert_to_tensor(a), "bfloat16")
        for a in (normal(1, 1024), normal(1024, 128))
    )
    result = multiply_by_kernel(x, kernel)
    assert ops.dtype(result) == "bfloat16"
    expected = ops.convert_to_numpy(ops.cast(ops.matmul(x, kernel), "float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(result, "float32")), expected
    )
    symbolic = keras.KerasTensor((None, 16))
    assert multiply_by_kernel(symbolic, ops.ones((16, 8))).shape == (None, 8)
    assert multiply_by_vocabulary(symbolic, ops.ones((8, 16))).shape == (None, 8)


def test_accelerators_get_whole_products(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        products.ops,
        "matmul",
        lambda x, y: calls.append((tuple(x.shape), tuple(y.shape))) or x,
    )
    with plain_forms():
        multiply_by_kernel(ops.ones((1, 1024)), ops.ones((1024, 128)))
    assert calls == [((1, 1024), (1024, 128))]


@pytest.mark.parametrize("size", [256, 77])
def test_first_largest(size: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (50, size)).astype("float32")  # with many equal maxima
    x[:20, : size // 2] = -np.inf
    result = first_largest(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(result.dtype) == "int32"
    np.testing.assert_array_equal(ops.convert_to_numpy(result), x.argmax(axis=-1))
