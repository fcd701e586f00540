"""Frozen parts and small types: the same, with less memory."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from tests.support.gradients import kept_for_backward
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_backbone, random_inputs

RESPONSES = ["a red ball", "blue", "a dog on a mat", "no"]
DATA = {
    "images": np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8),
    "prompts": ["caption en"] * 4,
    "responses": RESPONSES,
}


def values(model: PaliGemma2CausalLM) -> dict[str, np.ndarray]:
    return {v.path: np.array(ops.convert_to_numpy(v)) for v in model.weights}


def fit(task: PaliGemma2CausalLM, batch_size: int, **options: Any) -> set[str]:
    """Trains for an epoch; paths of what changed."""
    before = values(task)
    task.fit(DATA, batch_size=batch_size, verbose=0, shuffle=False, **options)
    after = values(task)
    return {path for path in after if not np.array_equal(after[path], before[path])}


@pytest.mark.eager
def test_frozen_parts_do_not_train() -> None:
    task = random_task(sequence_length=24)
    everything = ("vision_encoder", "projection", "text_decoder")
    assert task.backbone.trainable_parts == everything
    task.backbone.trainable_parts = ("projection",)
    assert task.backbone.trainable_parts == ("projection",)
    optimizer = keras.optimizers.Adam(1e-2)
    task.compile(optimizer)
    changed = fit(task, 4)
    assert changed == {"vision_projection/kernel", "vision_projection/bias"}
    # Two moments each, the number of steps and the learning rate.
    assert len(optimizer.variables) == 2 * 2 + 2
    task.backbone.trainable_parts = ("vision", "projection", "decoder")
    assert len(task.trainable_variables) == len(task.weights)


def test_parts_are_named_and_lora_freezes_by_itself() -> None:
    task = random_task()
    for wrong in ("vision", ("llm",), ()):
        with pytest.raises(ValueError, match="names among vision_encoder, projec"):
            task.backbone.trainable_parts = wrong
    task.enable_lora(2, parts=["decoder"])
    assert task.backbone.trainable_parts == ("text_decoder",)
    with pytest.raises(ValueError, match=r"parts=\['vision_encoder'\] to enable_lora"):
        task.backbone.trainable_parts = ["vision"]


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="XLA does not tell what it keeps"
)
def test_a_frozen_vision_tower_keeps_nothing() -> None:
    inputs = random_inputs([7, 9], num_responses=5)
    kept = {}
    for depth in (1, 4):
        backbone = random_backbone(vision_layers=depth)
        for parts in (("vision", "projection", "decoder"), ("projection", "decoder")):
            backbone.trainable_parts = parts
            kept[depth, len(parts)] = kept_for_backward(
                lambda backbone=backbone: ops.mean(ops.square(backbone(inputs))),
                backbone.trainable_variables,
            )
    assert kept[4, 3] > kept[1, 3]
    assert kept[4, 2] == kept[1, 2]


@pytest.mark.eager
def test_states_of_the_optimizer_are_float32_and_of_the_factors_alone() -> None:
    keras.config.set_dtype_policy("bfloat16")
    task = random_task(sequence_length=24)
    keras.config.set_dtype_policy("float32")
    task.enable_lora(2, parts=["decoder"])
    optimizer = keras.optimizers.Adam(1e-3)
    task.compile(optimizer)
    changed = fit(task, 4)

    # Query and value of one block. A has no gradient as long as B is 0.
    assert len(task.trainable_variables) == 2 * 2
    assert len(changed) == 2
    assert all("lora_kernel" in path for path in changed)
    sizes = [int(np.prod(v.shape)) for v in task.trainable_variables]
    states = [v for v in optimizer.variables if "lora_kernel" in v.path]
    assert {v.dtype for v in states} == {"float32"}
    assert sum(int(np.prod(v.shape)) for v in states) == 2 * sum(sizes)
    assert len(optimizer.variables) == len(states) + 2
