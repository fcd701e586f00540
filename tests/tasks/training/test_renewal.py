"""Training goes on after something else is to be trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_pg2 import Sampler
from tests.support.tiny_models import random_task

DATA = {
    "images": np.full((2, 28, 28, 3), 99, np.uint8),
    "prompts": ["caption en"] * 2,
    "responses": ["a red ball", "blue"],
}
TARGETS = ["query_dense"]


def train(task, num_steps=1):
    options = {"batch_size": 2, "epochs": num_steps, "verbose": 0, "shuffle": False}
    return task.fit(DATA, **options).history["loss"]


def num_steps(task):
    return int(keras.ops.convert_to_numpy(task.optimizer.iterations))


def compiled_task(**options):
    task = random_task(sequence_length=16)
    task.compile(keras.optimizers.Adam(1e-2, beta_1=0.8), **options)
    return task


@pytest.mark.eager
def test_lora_after_training_is_as_after_a_new_compile():
    task = compiled_task(weighted_metrics=["accuracy"])
    train(task)
    old = task.optimizer
    task.optimizer.learning_rate = 5e-3
    task.sampler = sampler = Sampler(temperature=0.5)
    task.enable_lora(2, TARGETS, parts=["text_decoder"])
    twin = random_task(sequence_length=16)
    twin.enable_lora(2, TARGETS, parts=["text_decoder"])
    twin.set_weights(task.get_weights())
    twin.compile(keras.optimizers.Adam(5e-3, beta_1=0.8))
    np.testing.assert_allclose(train(task, 3), train(twin, 3), rtol=1e-5)
    for one, other in zip(task.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert num_steps(task) == 3
    assert task.optimizer is not old
    assert task.sampler is sampler
    assert [metric.name for metric in task.metrics] == ["loss", "accuracy"]
    task.train_on_batch(DATA)
    assert num_steps(task) == 4


@pytest.mark.one_backend("which optimizer is taken; one is made anew on all")
@pytest.mark.eager
def test_the_optimizer_is_of_one_adapter():
    task = compiled_task()
    task.enable_lora(2, TARGETS, name="first")
    train(task, 2)
    # The same adapter again, after a look at the base.
    task.adapters.activate("none")
    task.adapters.activate("first")
    train(task)
    assert num_steps(task) == 3
    # Another one in the same variables.
    task.enable_lora(2, TARGETS, name="second")
    train(task)
    assert num_steps(task) == 1
    task.adapters.activate("first")
    train(task, 2)
    assert num_steps(task) == 2
    task.adapters.delete("second")
    train(task)
    assert num_steps(task) == 3


@pytest.mark.one_backend("which optimizer is taken; one is made anew on all")
@pytest.mark.eager
def test_frozen_parts_and_merged_adapters():
    task = compiled_task()
    train(task)
    task.backbone.trainable_parts = ("projection",)
    kernel = task.backbone.vision_projection.kernel
    frozen = task.backbone.token_embedding.embeddings
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in (kernel, frozen)]
    train(task)
    assert num_steps(task) == 1
    assert np.any(keras.ops.convert_to_numpy(kernel) != before[0])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(frozen), before[1])
    task.backbone.trainable_parts = ("projection", "text_decoder")
    train(task)
    assert np.any(keras.ops.convert_to_numpy(frozen) != before[1])
    task.enable_lora(2, TARGETS)
    train(task)
    task.adapters.merge(can_unmerge=False)
    task.enable_lora(2, ["value_dense"])
    assert np.isfinite(train(task)).all()
    assert num_steps(task) == 1


@pytest.mark.one_backend("what is refused before training")
def test_a_model_without_anything_to_train():
    task = compiled_task()
    task.enable_lora(2, TARGETS, name="ours")
    task.adapters.merge()
    with pytest.raises(ValueError, match=r"all frozen. Call adapters\.unmerge\(\)"):
        train(task)
    task.adapters.unmerge()
    task.adapters.activate("none")
    with pytest.raises(ValueError, match=r"Call adapters\.activate\('ours'\), as no"):
        task.train_on_batch(DATA)
    task.adapters.delete("ours")
    with pytest.raises(ValueError, match=r"Call enable_lora, or set trainable\."):
        train(task)


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that Keras cannot make of its configuration."""

    def __call__(self, step):
        return 0.01

    def get_config(self):
        return {}


@pytest.mark.one_backend("what is refused before training")
def test_an_optimizer_that_cannot_be_made_again():
    task = random_task(sequence_length=16)
    task.compile(keras.optimizers.SGD(Decay()))
    train(task)
    task.enable_lora(2, TARGETS)
    with pytest.raises(ValueError, match=r"Expected a call of `compile`.*SGD"):
        train(task)
    task.compile(keras.optimizers.SGD(0.01))
    train(task)
