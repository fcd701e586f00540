"""The dense layer against Keras' own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.dense import Dense

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(0, 1, (3, 5, 12)).astype("float32")


def pair(**options: object) -> tuple[keras.layers.Dense, Dense]:
    """Keras' layer and ours, with the same weights and LoRA."""
    layers = keras.layers.Dense(7, **options), Dense(7, **options)
    for layer in layers:
        layer.build((None, None, 12))
        layer.enable_lora(3, lora_alpha=5)
    for theirs, ours in zip(layers[0].variables, layers[1].variables, strict=True):
        assert (theirs.path.split("/")[-1], theirs.dtype) == (
            ours.path.split("/")[-1],
            ours.dtype,
        )
        value = RNG.normal(0, 1, theirs.shape)
        theirs.assign(value)
        ours.assign(value)
    return layers


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_lora_gives_what_keras_gives(options: dict) -> None:
    theirs, ours = pair(**options)
    expected = ops.convert_to_numpy(theirs(INPUTS))
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours(INPUTS)), expected, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ours.kernel), ops.convert_to_numpy(theirs.kernel)
    )


def test_factors_are_float32_and_small_ones_are_not_lost_in_bfloat16() -> None:
    layer = Dense(7, dtype="bfloat16")
    layer.build((None, None, 12))
    layer.enable_lora(3)
    dtypes = [v.dtype for v in (layer.base_kernel, layer.lora_kernel_a)]
    assert dtypes == ["bfloat16", "float32"]
    # 1 + 2 ** -10 is 1 in bfloat16: with the sum in the kernel this would be 0.
    layer.base_kernel.assign(np.ones((12, 7)))
    layer.lora_kernel_a.assign(np.tile([[2.0**-10], [0.0]], (6, 3)))
    layer.lora_kernel_b.assign(np.full((3, 7), 1 / 3))
    output = layer(np.tile([1.0, -1.0], 6)[None].astype("float32"))
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    value = ops.convert_to_numpy(ops.cast(output, "float32"))
    np.testing.assert_allclose(value, np.full((1, 7), 6 * 2.0**-10), rtol=0.02)


def test_lora_can_be_taken_away_and_given_again() -> None:
    layer = Dense(7)
    layer.build((None, None, 12))
    before = ops.convert_to_numpy(layer(INPUTS))
    layer.enable_lora(3)
    layer.lora_kernel_b.assign(np.ones((3, 7)))
    assert np.abs(ops.convert_to_numpy(layer(INPUTS)) - before).max() > 0.1
    layer.disable_lora()
    assert [v.name for v in layer.variables] == ["kernel", "bias"]
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(INPUTS)), before)
    layer.enable_lora(5, lora_alpha=1)
    assert [tuple(v.shape) for v in layer.variables[2:]] == [(12, 5), (5, 7)]


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantised_as_keras_does_it(mode: str) -> None:
    theirs, ours = pair()
    for layer in (theirs, ours):
        layer.quantize(mode)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ours(INPUTS)), ops.convert_to_numpy(theirs(INPUTS))
    )


@pytest.mark.parametrize("shape", [(0, 6), (0, 4, 6)])
def test_no_rows_at_all(shape):
    """As of the pictures of a prompt without one."""
    layer = Dense(5)
    layer.build((None, 6))
    layer.enable_lora(2)
    assert tuple(layer(np.zeros(shape, "float32")).shape) == (*shape[:-1], 5)
