"""Training through `fit`, from pictures and text."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs


@pytest.mark.eager
def test_fit_takes_files_and_texts(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(40, 60, 3), (30, 20, 3)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
        paths.append(str(path))
    task = random_task(sequence_length=24)
    task.compile(optimizer=keras.optimizers.Adam(1e-3))
    data = {
        "images": paths,
        "prompts": ["caption en", "answer en what is this?"],
        "responses": ["a red ball", "blue"],
    }
    history = task.fit(data, batch_size=2, epochs=4, verbose=0, shuffle=False)
    losses = history.history["loss"]
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()


@pytest.mark.one_backend("the same operations of Keras")
def test_logits_are_of_the_embedding_as_it_is_now():
    task = random_task(sequence_length=24)
    inputs = random_inputs([5, 4])
    table = task.backbone.token_embedding.embeddings
    before = keras.ops.convert_to_numpy(apply(task, inputs))
    table.assign(keras.ops.convert_to_numpy(table)[::-1].copy())
    hidden = apply(task.backbone, inputs)[:, -5:]
    expected = keras.ops.convert_to_numpy(task.backbone.project_to_vocabulary(hidden))
    logits = keras.ops.convert_to_numpy(apply(task, inputs))
    assert np.abs(logits - before).max() > 1
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    # The end token, which is only answered and never read, learns: the tables are tied.
    old = keras.ops.convert_to_numpy(table).copy()
    task.compile(optimizer=keras.optimizers.SGD(0.1))
    data = {"prompts": ["caption en"], "responses": ["a red ball"]}
    data["images"] = np.full((1, 28, 28, 3), 99, np.uint8)
    task.fit(data, batch_size=1, verbose=0, shuffle=False)
    end = task.preprocessor.tokenizer.end_token_id
    new = keras.ops.convert_to_numpy(table)
    assert np.abs(new[end] - old[end]).max() > 1e-4
    task(inputs)


def test_lora_trains_only_its_layers():
    task = random_task(sequence_length=24)
    task.backbone.enable_lora(2)
    names = {variable.name for variable in task.trainable_variables}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    before = [np.array(v) for v in map(keras.ops.convert_to_numpy, task.weights)]
    task.compile(optimizer=keras.optimizers.SGD(0.1))
    data = {
        "images": np.full((2, 28, 28, 3), 99, np.uint8),
        "prompts": ["caption en"] * 2,
        "responses": ["a red ball", "blue"],
    }
    task.fit(data, batch_size=2, epochs=2, verbose=0, shuffle=False)
    changed = {
        variable.name
        for variable, old in zip(task.weights, before, strict=True)
        if not np.array_equal(keras.ops.convert_to_numpy(variable), old)
    }
    assert changed <= names
    assert "lora_kernel_b" in changed


@pytest.mark.eager
def test_generate_takes_a_dataset_of_batches_or_of_examples(tf):
    task = random_task()
    options = {"max_new_tokens": 3, "stop_token_ids": None}
    prompts = ["ocr", "caption en", "describe en"]
    expected = [task.generate(prompt, **options) for prompt in prompts]
    examples = tf.data.Dataset.from_tensor_slices({"prompts": prompts})
    assert task.generate(examples, **options) == expected
    assert task.generate(examples.batch(2), **options) == expected
