"""Adapters by name: switched, saved, loaded, merged."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_pg2 import PaliGemma2CausalLM
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

INPUTS = random_inputs([9, 6], num_responses=2)
PROMPT = {"images": np.full((30, 40, 3), 77, np.uint8), "prompts": "caption en"}


def logits(task: PaliGemma2CausalLM) -> np.ndarray:
    """Of the two rows' real tokens, in parts of the largest."""
    values = ops.convert_to_numpy(ops.cast(apply(task, INPUTS), "float32"))
    return values[INPUTS["padding_mask"]] / 30


def fill(task: PaliGemma2CausalLM, seed: int) -> None:
    """Gives the factors in the network random numbers, as large as the kernels."""
    rng = np.random.default_rng(seed)
    for variable in sorted(task.trainable_variables, key=lambda v: v.path):
        assert "lora_kernel" in variable.path
        variable.assign(rng.normal(0, 0.5, variable.shape))


def adapted(rank: int = 3, seed: int = 1, **options: object) -> PaliGemma2CausalLM:
    task = random_task()
    task.enable_lora(rank, **options)
    fill(task, seed)
    return task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    adapted(alpha=5, targets=["query_dense", "mlp/*"]).adapters.save(
        tmp_path / "colours.safetensors"
    )
    return tmp_path / "colours.safetensors"


@pytest.mark.every_backend
@pytest.mark.eager
def test_save_and_load_gives_the_same_logits(tmp_path: Path, file: Path) -> None:
    task = adapted(alpha=5, targets=["query_dense", "mlp/*"])
    expected, answer = logits(task), task.generate(PROMPT, max_new_tokens=6)
    other = random_task()
    base = logits(other)
    base_answer = other.generate(PROMPT, max_new_tokens=6)
    assert np.abs(expected - base).max() > 0.1
    assert answer != base_answer
    assert other.adapters.load(file) == "colours"
    np.testing.assert_array_equal(logits(other), expected)
    assert other.generate(PROMPT, max_new_tokens=6) == answer
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
        keys = set(opened.keys())
    assert (metadata["rank"], metadata["alpha"]) == ("3", "5")
    assert json.loads(metadata["targets"]) == ["query_dense", "mlp/*"]
    architecture = json.loads(metadata["base_numbers"])
    assert architecture["text_decoder"]["query_pre_attn_scalar"] == 6
    assert "text_decoder/block_0/mlp/up_dense/lora_kernel_a" in keys
    # No other file is left beside it.
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(FileExistsError, match="there already"):
        task.adapters.save(file)
    task.adapters.save(file, overwrite=True)


@pytest.mark.every_backend
@pytest.mark.eager
def test_a_loaded_adapter_is_trained_further(file: Path) -> None:
    task = random_task(sequence_length=24)
    task.adapters.load(file)
    data = {
        "images": np.full((2, 28, 28, 3), 99, np.uint8),
        "prompts": ["caption en"] * 2,
        "responses": ["a red ball", "blue"],
    }
    task.compile(optimizer=keras.optimizers.Adam(1e-3))
    losses = task.fit(data, batch_size=2, epochs=3, verbose=0, shuffle=False).history[
        "loss"
    ]
    assert losses[-1] < losses[0]
    trained = logits(task)
    task.adapters.activate("none")
    assert task.trainable_variables == []
    np.testing.assert_allclose(logits(task), logits(random_task()), atol=1e-6)
    task.adapters.activate("colours")
    np.testing.assert_array_equal(logits(task), trained)


@pytest.mark.one_backend("factors are assigned, as where they are loaded")
def test_adapters_are_switched(tmp_path: Path) -> None:
    """Also where ranks, alphas and layers differ, and what is compiled with them."""
    settings = {
        "a": {"rank": 2},
        "b": {"rank": 2, "seed": 2},
        "c": {"rank": 2, "alpha": 7},
        "d": {"rank": 4, "parts": ["decoder"], "seed": 3},
        "e": {"rank": 1, "targets": ["mlp_up", "vision_projection"]},
    }
    expected, answers = {}, {}
    for name, options in settings.items():
        task = adapted(**options)
        expected[name] = logits(task)
        answers[name] = task.generate(PROMPT, max_new_tokens=6)
        task.adapters.save(tmp_path / f"{name}.safetensors")
    task = random_task()
    expected["none"] = logits(task)
    answers["none"] = task.generate(PROMPT, max_new_tokens=6)
    assert len(set(answers.values())) > 3
    for name in settings:
        task.adapters.load(tmp_path / f"{name}.safetensors")
    assert task.adapters.names == list(settings)
    for name in ["a", "b", "none", "c", "a", "d", "e", "none", "d", "a"]:
        task.adapters.activate(name)
        assert task.adapters.active == (None if name == "none" else name)
        np.testing.assert_allclose(
            logits(task), expected[name], atol=1e-5, err_msg=name
        )
        assert task.generate(PROMPT, max_new_tokens=6) == answers[name], name
    with pytest.raises(ValueError, match=r"of: a, b, c, d, e, none. Received: 'f'"):
        task.adapters.activate("f")
    task.adapters.save(tmp_path / "again.safetensors", name="b")
    again, first = (load_file(tmp_path / f"{n}.safetensors") for n in ("again", "b"))
    assert again.keys() == first.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)


def test_a_second_adapter_is_made_beside_the_first() -> None:
    task = adapted()
    first = logits(task)
    task.enable_lora(5, ["mlp/*"], name="second")
    assert task.adapters.names == ["default", "second"]
    np.testing.assert_allclose(logits(task), logits(random_task()), atol=1e-6)
    fill(task, 3)
    second = logits(task)
    task.enable_lora(3)
    np.testing.assert_array_equal(logits(task), first)
    task.adapters.activate("second")
    np.testing.assert_array_equal(logits(task), second)
    task.adapters.delete("second")
    task.adapters.delete("default")
    assert task.adapters.names == []
    assert not any("lora" in variable.path for variable in task.weights)


@pytest.mark.one_backend("kernels are assigned, as where they are loaded")
@pytest.mark.parametrize("targets", [["query_dense", "value_dense"], ["*"]])
def test_merged_is_unmerged(targets: list[str]) -> None:
    task = adapted(targets=targets, alpha=2)
    weights = {v.path for v in random_task().weights}
    base = {
        v.path: np.array(ops.convert_to_numpy(v))
        for v in task.weights
        if "lora" not in v.path
    }
    expected, answer = logits(task), task.generate(PROMPT, max_new_tokens=6)
    task.adapters.merge()
    assert {v.path for v in task.weights} == weights
    np.testing.assert_allclose(logits(task), expected, atol=1e-5)
    assert task.generate(PROMPT, max_new_tokens=6) == answer
    for call in (task.enable_lora, task.adapters.activate, task.adapters.load):
        with pytest.raises(ValueError, match=r"Call adapters.unmerge first"):
            call(2)
    with pytest.raises(ValueError, match=r"'default' merged. Call adapters.unmerge"):
        task.adapters.merge()
    task.adapters.unmerge()
    np.testing.assert_array_equal(logits(task), expected)
    for variable in task.weights:
        if "lora" not in variable.path:
            value = ops.convert_to_numpy(variable)
            np.testing.assert_array_equal(value, base[variable.path])
    with pytest.raises(ValueError, match="Expected a model with a merged adapter"):
        task.adapters.unmerge()


def test_merged_for_good() -> None:
    task = adapted()
    expected = logits(task)
    task.adapters.merge(can_unmerge=False)
    np.testing.assert_allclose(logits(task), expected, atol=1e-5)
    assert task.adapters.names == []
    with pytest.raises(ValueError, match="unless can_unmerge was False"):
        task.adapters.unmerge()
    task.enable_lora(2)
    np.testing.assert_allclose(logits(task), expected, atol=1e-5)


def test_nothing_is_half_loaded(tmp_path: Path, file: Path) -> None:
    task = random_task()
    expected = logits(task)
    content = file.read_bytes()
    tensors = load_file(file)
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()

    def refuse(path: Path, message: str, error: type = ValueError) -> None:
        with pytest.raises(error, match=message):
            task.adapters.load(path)
        assert task.adapters.names == []
        assert len(task.trainable_variables) == len(task.weights)
        np.testing.assert_array_equal(logits(task), expected)

    bad = tmp_path / "bad.safetensors"
    refuse(bad, "There is none", FileNotFoundError)
    for length in (0, 5, 200, len(content) - 40):
        bad.write_bytes(content[:length])
        refuse(bad, "is cut off or is none")
    save_file(tensors, bad, {"format": "pt"})
    refuse(bad, "Expected an adapter of `Adapters.save`.*Received: 'pt'")
    one = next(iter(tensors))
    save_file({k: v for k, v in tensors.items() if k != one}, bad, metadata)
    refuse(bad, "without lora_kernel_a|without lora_kernel_b")
    save_file({**tensors, one: tensors[one] * np.nan}, bad, metadata)
    refuse(bad, f"NaN or infinity in {one}")


def test_an_adapter_of_more_blocks_is_refused(tmp_path: Path) -> None:
    deeper = random_task(num_layers=2)
    deeper.enable_lora(1)
    deeper.adapters.save(tmp_path / "deeper.safetensors")
    with pytest.raises(ValueError, match="does not have: text_decoder/block_1"):
        random_task().adapters.load(tmp_path / "deeper.safetensors")


def test_another_base_is_refused(tmp_path: Path, file: Path) -> None:
    def refuse(task: PaliGemma2CausalLM, message: str) -> None:
        expected = logits(task)
        with pytest.raises(ValueError, match=message):
            task.adapters.load(file)
        assert task.adapters.names == []
        np.testing.assert_array_equal(logits(task), expected)

    refuse(random_task(seed=5), "other norms and biases, other kernels.*check_base=Fa")
    refuse(
        random_task(final_logit_soft_cap=None),
        r"final_logit_soft_cap=None \(the adapter's is 30",
    )
    refuse(
        random_task(intermediate_dim=32), r"mlp/gate_dense \(24, 40\), here \(24, 32"
    )
    merged = adapted(parts=["projection"])
    merged.adapters.merge(can_unmerge=False)
    refuse(merged, "another one: other kernels. Take")
    task = random_task(seed=5)
    task.adapters.load(file, check_base=False)
    assert task.adapters.active == "colours"
    with pytest.raises(ValueError, match="'colours', which is there already"):
        task.adapters.load(file)


# Keras 3.15 says so of inputs and norms.
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_the_base_is_known_in_another_dtype_and_quantised(file: Path) -> None:
    keras.config.set_dtype_policy("bfloat16")
    task = random_task()
    task.adapters.load(file)
    assert {v.dtype for v in task.trainable_variables} == {"float32"}
    keras.config.set_dtype_policy("float32")
    for mode in ("int8", "int4"):
        task = random_task()
        task.backbone.quantize(mode)
        task.adapters.load(file)


def test_what_keras_hub_enabled_is_an_adapter_too(tmp_path: Path) -> None:
    task = random_task()
    task.backbone.enable_lora(2, target_layer_names=["key_dense"])
    assert task.adapters.names == ["default"]
    attention = task.backbone.find("vision_encoder/block_0/attention")
    attention.key_dense.bias.trainable = True
    with pytest.raises(ValueError, match=r"only the adapter to be trainable.*bias"):
        task.adapters.save(tmp_path / "a.safetensors")
    task = random_task()
    task.backbone.enable_lora(2, target_layer_names=["up_dense"])
    fill(task, 1)
    task.adapters.save(tmp_path / "a.safetensors")
    other = random_task()
    other.adapters.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(logits(other), logits(task))


def test_saving_needs_an_adapter_and_its_ending(tmp_path: Path) -> None:
    task = random_task()
    with pytest.raises(
        ValueError, match=r"Expected an adapter in the network for adapters\.save"
    ):
        task.adapters.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"network to merge. Received: none"):
        task.adapters.merge()
    task.enable_lora(2)
    with pytest.raises(ValueError, match=r"ends in .safetensors"):
        task.adapters.save(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="other than 'none'"):
        task.enable_lora(2, name="none")
    assert not list(tmp_path.iterdir())


def test_a_preset_of_an_adapted_model_is_merged(tmp_path: Path) -> None:
    task = adapted()
    task.save_to_preset(tmp_path / "preset")
    loaded = PaliGemma2CausalLM.from_preset(str(tmp_path / "preset"))
    assert loaded.adapters.base_name == "preset"
    np.testing.assert_allclose(logits(loaded), logits(task), atol=1e-5)
