from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.rotary import apply_rotary, compute_rotation


def rotate_complex(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The definition: pairs as complex numbers, turned by position * frequency."""
    half = x.shape[-1] // 2
    pairs = x[..., :half] + 1j * x[..., half:]
    frequency = 10_000.0 ** (-2 * np.arange(half) / x.shape[-1])
    turned = pairs * np.exp(1j * positions[:, :, None, None] * frequency)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def test_against_complex_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3, 8)).astype("float32")
    positions = rng.integers(0, 300, (2, 5)).astype("int32")
    turned = apply_rotary(
        np.swapaxes(x, 1, 2), compute_rotation(positions, x.shape[-1])
    )
    rotated = np.swapaxes(ops.convert_to_numpy(turned), 1, 2)
    np.testing.assert_allclose(rotated, rotate_complex(x, positions), atol=1e-4)


def test_position_0_is_the_identity() -> None:
    x = np.random.default_rng(0).normal(size=(1, 1, 2, 4)).astype("float32")
    rotated = apply_rotary(x, compute_rotation(np.zeros((1, 2), "int32"), 4))
    np.testing.assert_array_equal(ops.convert_to_numpy(rotated), x)


def test_products_depend_on_distance_alone() -> None:
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 1, 16)).astype("float32")

    def product(query_position: int, key_position: int) -> float:
        turned = (
            apply_rotary(x, compute_rotation(np.full((1, 1), position, "int32"), 16))
            for x, position in ((query, query_position), (key, key_position))
        )
        return float(np.sum(np.prod([ops.convert_to_numpy(x) for x in turned], 0)))

    assert product(7, 3) == pytest.approx(product(1007, 1003), abs=1e-3)
    assert abs(product(7, 3) - product(7, 4)) > 0.05


def test_bfloat16_is_rotated_in_float32() -> None:
    """4097 has no bfloat16; rounded to 4096 the fastest pair turns by another angle."""
    x = ops.cast(np.ones((1, 1, 1, 4)), "bfloat16")
    positions = np.full((1, 1), 4097, "int32")
    rotated = apply_rotary(x, compute_rotation(positions, x.shape[-1]))
    assert ops.dtype(rotated) == "bfloat16"
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(rotated, "float32")),
        rotate_complex(np.ones((1, 1, 1, 4)), positions),
        atol=0.01,
    )
