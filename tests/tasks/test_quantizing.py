"""Quantised models: what becomes whole numbers, files of them, and LoRA on top."""

from __future__ import annotations

import gc
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.modeling.dense import Dense
from keras_pg2.tasks.adapters.layers import dense_layers
from keras_pg2.tasks.quantizing import frozen_garbage, without_report
from tests.support.one_program import apply
from tests.support.tiny_models import random_task

DATA = {
    "images": np.full((2, 28, 28, 3), 99, np.uint8),
    "prompts": ["caption en"] * 2,
    "responses": ["a red ball", "blue"],
}
MODES = ["int8", "int4"]


def logits(model: PaliGemma2CausalLM) -> np.ndarray:
    return ops.convert_to_numpy(apply(model, model.preprocessor(DATA)[0]))


def states(model: PaliGemma2CausalLM) -> np.ndarray:
    return ops.convert_to_numpy(apply(model.backbone, model.preprocessor(DATA)[0]))


def kinds(model: PaliGemma2CausalLM) -> dict[str, set[str]]:
    """Types of weights by name."""
    found: dict[str, set[str]] = {}
    for variable in model.weights:
        found.setdefault(variable.path.rpartition("/")[2], set()).add(variable.dtype)
    return found


def calm_task() -> PaliGemma2CausalLM:
    """Weights so small that a little noise in the kernels stays little."""
    task = random_task(sequence_length=24)
    for layer in dense_layers(task.backbone).values():
        layer.base_kernel.assign(layer.base_kernel * 0.3)
    return task


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_task_and_its_preset(mode: str, tmp_path: Any) -> None:
    task = calm_task()
    before = states(task)
    task.quantize(mode)
    found = kinds(task)
    # The patches' convolution, and the table of positions beside that of tokens.
    assert found["kernel"] == {"int8", "float32"}
    assert found["embeddings"] == {"int8", "float32"}
    layers = [*dense_layers(task.backbone).values(), task.backbone.token_embedding]
    assert {layer.quantization_mode for layer in layers} == {mode}
    after = states(task)
    error = np.abs(after - before).mean() / np.abs(before).mean()
    assert 1e-4 < error < {"int8": 0.05, "int4": 0.6}[mode]
    expected = logits(task)
    task.save_to_preset(tmp_path / "small")
    again = PaliGemma2CausalLM.from_preset(tmp_path / "small")
    assert kinds(again) == found
    np.testing.assert_array_equal(logits(again), expected)
    # What was read can be written: Keras forgets the policies of a map.
    assert again.backbone.get_config()["dtype"] == task.backbone.get_config()["dtype"]


@pytest.mark.one_backend("what Keras prints")
def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Keras prints a report from 3.16 on, unless it is told not to."""
    random_task().quantize("int8", parts=["projection"])
    assert capsys.readouterr().out == ""

    def reporting(mode: str, verbose: bool = True, **options: Any) -> None: ...

    def silent(mode: str, **options: Any) -> None: ...

    assert without_report(reporting) == {"verbose": False}
    assert without_report(silent) == {}


def test_parts_and_filters() -> None:
    task = random_task()
    task.quantize("int8", parts=["decoder"], filters=["mlp/", "token_embedding"])
    quantized = {
        path.rpartition("/")[2]
        for path, layer in dense_layers(task.backbone).items()
        if layer.quantization_mode
    }
    assert quantized == {"gate_dense", "up_dense", "down_dense"}
    assert task.backbone.token_embedding.quantization_mode == "int8"
    with pytest.raises(ValueError, match="leave layers to quantise"):
        task.quantize("int8", filters="nothing")
    with pytest.raises(ValueError, match=r"int8, int4. Received: 'float8'"):
        task.quantize("float8")


def test_floats_stay_bfloat16_in_a_preset(tmp_path: Any) -> None:
    keras.config.set_dtype_policy("bfloat16")
    task = random_task()
    task.quantize("int8", parts=["projection"])
    keras.config.set_dtype_policy("float32")
    task.save_to_preset(tmp_path / "small")
    again = PaliGemma2CausalLM.from_preset(tmp_path / "small")
    assert kinds(again)["scale"] == {"bfloat16"}
    wide = PaliGemma2CausalLM.from_preset(tmp_path / "small", dtype="float32")
    assert kinds(wide)["scale"] == {"float32"}


def test_a_width_that_128_does_not_divide() -> None:
    """The vision tower's 4,304 inputs are 33 groups of 128 and one of 80."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, (4304, 6)).astype("float32")
    x = rng.normal(0, 1, (5, 4304)).astype("float32")
    layer = Dense(6, use_bias=False)
    layer.build((None, 4304))
    layer.base_kernel.assign(kernel)
    layer.quantize("int4", config=keras.quantizers.Int4QuantizationConfig())
    assert tuple(layer.kernel_scale.shape) == (34, 6)
    # By hand: a group has 16 steps between its least and its largest number, and what
    # is rounded to steps is wrong by step / sqrt(12) (its standard deviation).
    variance = np.zeros((5, 6))
    for start in range(0, 4304, 128):
        group, part = kernel[start : start + 128], x[:, start : start + 128]
        step = (group.max(axis=0) - group.min(axis=0)) / 15
        variance += (part**2).sum(axis=1)[:, None] * step**2 / 12
    error = ops.convert_to_numpy(layer(x)) - x @ kernel
    # A group that is left out would be wrong by about 10 of these.
    assert 0.3 < np.sqrt(np.mean(error**2 / variance)) < 2


@pytest.mark.two_backends("the same operations; layers of 8 bits train on all")
@pytest.mark.parametrize("mode", MODES)
def test_lora_trains_on_whole_numbers(mode: str, tmp_path: Any) -> None:
    keras.utils.set_random_seed(0)
    base, task = calm_task(), calm_task()
    task.quantize(mode)
    task.enable_lora(2, ["*_dense"], parts=["decoder"])
    assert {v.dtype for v in task.trainable_variables} == {"float32"}
    assert all("lora_kernel" in v.path for v in task.trainable_variables)
    frozen = {
        v.path: np.array(ops.convert_to_numpy(v)) for v in task.non_trainable_variables
    }
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = task.fit(DATA, batch_size=2, epochs=20, verbose=0, shuffle=False)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
    for variable in task.non_trainable_variables:
        if variable.path in frozen:
            np.testing.assert_array_equal(
                ops.convert_to_numpy(variable), frozen[variable.path], variable.path
            )
    # The adapter on the float base, which it was not trained on, and back.
    path = tmp_path / "small.safetensors"
    task.adapters.save(path)
    without = states(base)
    base.adapters.load(path)
    changed = states(base)
    distance = np.abs(changed - states(task)).mean()
    assert distance < {"int8": 0.1, "int4": 0.8}[mode] * np.abs(changed).mean()
    assert np.abs(changed - without).mean() > 0.05 * np.abs(changed).mean()
    base.adapters.save(tmp_path / "float.safetensors")
    expected = states(task)
    task.adapters.load(tmp_path / "float.safetensors")
    np.testing.assert_allclose(states(task), expected, atol=1e-5)


def test_logits_of_whole_numbers_have_no_gradient() -> None:
    task = random_task(sequence_length=24)
    task.quantize("int8")
    task.enable_lora(2, parts=["projection"])
    task.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=r"Expected a ResponseLoss.*quantised token"):
        task.fit(DATA, batch_size=2, verbose=0, shuffle=False)


def test_not_while_an_adapter_can_be_unmerged() -> None:
    task = random_task()
    task.enable_lora(2, parts=["projection"])
    task.adapters.merge()
    with pytest.raises(ValueError, match=r"merge it with can_unmerge=False"):
        task.quantize("int8")


def test_what_keras_does_not_save_is_not_saved(tmp_path: Any) -> None:
    task = random_task()
    config = keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    task.quantize("int8", config, parts=["projection"])
    with pytest.raises(ValueError, match=r"another activation_quantizer in vision_pro"):
        task.save_to_preset(tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_frozen_objects_are_thawed_where_none_was_frozen_before(is_frozen):
    gc.unfreeze()
    if is_frozen:
        gc.freeze()
    with frozen_garbage():
        assert gc.get_freeze_count() > 1000
    assert (gc.get_freeze_count() > 0) == is_frozen
