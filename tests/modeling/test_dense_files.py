"""Files of the dense layer: Keras' own without LoRA, and what training goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.saving import saving_preset

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(0, 1, (3, 12)).astype("float32")
KERNEL, BIAS = RNG.normal(0, 1, (12, 8)), RNG.normal(0, 1, 8)
A, B = RNG.normal(0, 1, (12, 3)), RNG.normal(0, 1, (3, 8))


def model(
    cls: type = Dense,
    rank: int | None = None,
    alpha: float = 5,
    mode: str | None = None,
    **options: Any,
) -> keras.Sequential:
    """A model of one layer; with LoRA its factors are A and B."""
    layer = cls(8, **options)
    result = keras.Sequential([keras.Input((12,)), layer])
    layer.kernel.assign(KERNEL)
    if layer.bias is not None:
        layer.bias.assign(BIAS)
    if mode is not None:
        layer.quantize(mode)
    if rank is not None:
        layer.enable_lora(rank, lora_alpha=alpha)
        layer.lora_kernel_a.assign(A[:, :rank])
        layer.lora_kernel_b.assign(B[:rank])
    return result


def values(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    return {
        v.path.split("/")[-1]: ops.convert_to_numpy(ops.cast(v, "float32"))
        for v in layer.variables
    }


def outputs(layer: keras.layers.Layer) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(layer(INPUTS), "float32"))


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda key, item: (
                found.update({key: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False},
        {"dtype": "bfloat16"},
        {"mode": "int8"},
        {"mode": "int4"},
    ],
    ids=str,
)
def test_the_kernel_and_the_factors_come_back_bit_for_bit(options, tmp_path):
    trained = model(rank=3, **options)
    trained.save_weights(tmp_path / "a.weights.h5")
    other = model(rank=3, **options)
    for variable in other.variables:
        variable.assign(np.zeros(variable.shape))
    other.load_weights(tmp_path / "a.weights.h5")
    expected, found = values(trained), values(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.parametrize("lora", [None, 3])
@pytest.mark.parametrize("mode", [None, "int8", "int4"])
def test_without_lora_or_merged_a_file_is_that_of_keras(mode, lora, tmp_path):
    """Keras' own layer merges LoRA into what it saves."""
    model(keras.layers.Dense, lora, mode=mode).save_weights(tmp_path / "k.weights.h5")
    with saving_preset():
        model(Dense, lora, mode=mode).save_weights(tmp_path / "o.weights.h5")
    theirs = datasets(tmp_path / "k.weights.h5")
    ours = datasets(tmp_path / "o.weights.h5")
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        np.testing.assert_array_equal(ours[key], value, key)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_bfloat16"])
def test_a_layer_without_lora_gets_the_sum(dtype, tmp_path):
    model(rank=3, dtype=dtype).save_weights(tmp_path / "a.weights.h5")
    plain = model(dtype=dtype)
    plain.load_weights(tmp_path / "a.weights.h5")
    [layer] = plain.layers
    base = values(model(dtype=dtype).layers[0])["kernel"]
    exact = base + 5 / 3 * (A.astype("float32") @ B.astype("float32"))
    # bfloat16 keeps 8 bits; with float32 weights all are kept.
    tolerance = 2**-8 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(values(layer)["kernel"], exact, rtol=tolerance)
    assert [v.name for v in layer.trainable_variables] == ["kernel", "bias"]


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_layer_without_lora_gets_what_keras_merges(mode, tmp_path):
    model(rank=3, mode=mode).save_weights(tmp_path / "a.weights.h5")
    merged = model(keras.layers.Dense, 3, mode=mode)
    merged.save_weights(tmp_path / "k.weights.h5")
    found, expected = model(mode=mode), model(keras.layers.Dense, mode=mode)
    found.load_weights(tmp_path / "a.weights.h5")
    expected.load_weights(tmp_path / "k.weights.h5")
    np.testing.assert_array_equal(outputs(found), outputs(expected))


@pytest.mark.parametrize("mode", [None, "int8", "int4"])
def test_factors_that_add_nothing_change_no_kernel(mode, tmp_path):
    fresh = model(rank=3, mode=mode)
    fresh.layers[0].lora_kernel_b.assign(np.zeros((3, 8)))
    fresh.save_weights(tmp_path / "a.weights.h5")
    plain = model(mode=mode)
    expected = values(plain.layers[0])
    plain.load_weights(tmp_path / "a.weights.h5")
    for name, value in values(plain.layers[0]).items():
        np.testing.assert_array_equal(value, expected[name], name)


@pytest.mark.parametrize("cls", [Dense, keras.layers.Dense])
def test_a_file_without_lora_is_trained_on_from(cls, tmp_path):
    """Of another layer, or with LoRA merged as Keras does it."""
    saved = model(cls, 3 if cls is keras.layers.Dense else None)
    saved.save_weights(tmp_path / "a.weights.h5")
    loaded = model(rank=3)
    loaded.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(outputs(loaded), outputs(saved), rtol=1e-4, atol=1e-5)
    found = values(loaded.layers[0])
    np.testing.assert_array_equal(found["lora_kernel_b"], 0)
    # With both at 0 neither would ever have a gradient.
    assert np.abs(found["lora_kernel_a"]).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2}, "of rank 2 and alpha 5 in .*a file with rank 3 and alpha 5"),
        ({"rank": 3, "alpha": 3}, "and alpha 3 in .*a file with rank 3 and alpha 5"),
        ({"rank": 3, "use_bias": False}, r"variables 0, lora_alpha, .*Received: 0, 1,"),
    ],
    ids=str,
)
def test_another_rank_alpha_or_layer_is_refused(options, message, tmp_path):
    model(rank=3).save_weights(tmp_path / "a.weights.h5")
    other = model(**options)
    before = values(other.layers[0])
    with pytest.raises(ValueError, match=message):
        other.load_weights(tmp_path / "a.weights.h5")
    for name, value in values(other.layers[0]).items():
        np.testing.assert_array_equal(value, before[name], name)


def test_a_configuration_keeps_alpha():
    layer = model(rank=3).layers[0]
    copied = Dense.from_config(layer.get_config())
    copied.build((None, 12))
    assert (copied.lora_rank, copied.lora_alpha) == (3, 5)


def test_a_kernel_of_a_mixed_policy_is_not_rounded():
    layer = model(rank=3, dtype="mixed_bfloat16").layers[0]
    layer.lora_kernel_b.assign(np.zeros((3, 8)))
    kernel = layer.kernel
    assert keras.backend.standardize_dtype(kernel.dtype) == "float32"
    np.testing.assert_array_equal(
        ops.convert_to_numpy(kernel), KERNEL.astype("float32")
    )
