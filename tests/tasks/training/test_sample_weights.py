"""Sample weights count, whatever way they come, as in a loop over logits by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from torch.utils.data import DataLoader

from keras_pg2.datasets.rows import columns
from tests.support.keras_hub_harness import Slices, dataset
from tests.support.tiny_models import random_task

WEIGHTS = [0.25, 3.0, 0.0, 1.5]
ROWS = [
    {"prompts": "caption en", "responses": "a red ball on grass"},
    {"prompts": "ocr", "responses": "b"},
    {"prompts": "describe en", "responses": "a dog"},
    {"prompts": "answer en where is it?", "responses": "in the middle of it"},
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    return {"images": images, **columns(ROWS)}


@pytest.fixture(scope="module")
def task(data):
    """A task that learns nothing, and is right about half of the tokens."""
    task = random_task(sequence_length=40)
    task.compile(keras.optimizers.SGD(0.0), weighted_metrics=["accuracy"])
    return task


@pytest.fixture(scope="module")
def expected(task, data):
    """Return a function of weights: loss and accuracy of all rows as one batch."""
    _, labels, is_response = task.preprocessor(data)
    logits = task.predict(data, verbose=0).astype(np.float64)

    def by_hand(weights):
        loss = right = total = 0.0
        for i, weight in enumerate(weights):
            for t in np.flatnonzero(is_response[i]):
                row = logits[i, t] - logits[i, t].max()
                loss += weight * (np.log(np.exp(row).sum()) - row[labels[i, t]])
                right += weight * (row.argmax() == labels[i, t])
                total += weight
        return [loss / total, right / total]

    return by_hand


def by_fit(task, data, weights):
    history = task.fit(data, sample_weight=weights, verbose=0).history
    return [history["loss"][0], history["accuracy"][0]]


def by_tuple(task, data, weights):
    history = task.fit((data, None, weights), verbose=0).history
    return [history["loss"][0], history["accuracy"][0]]


def by_validation(task, data, weights):
    given = (data, None, np.array(weights))
    history = task.fit(data, validation_data=given, verbose=0).history
    return [history["val_loss"][0], history["val_accuracy"][0]]


def by_evaluate(task, data, weights):
    return task.evaluate(data, sample_weight=weights, verbose=0)


def by_test_on_batch(task, data, weights):
    return task.test_on_batch(data, sample_weight=weights)


def by_train_on_batch(task, data, weights):
    return task.train_on_batch(data, sample_weight=weights)


def by_py_dataset(task, data, weights):
    return task.evaluate(Slices((data, None, np.array(weights)), 4), verbose=0)


def by_grain(task, data, weights):
    return task.evaluate(
        dataset("grain", (data, None, np.array(weights)), 4), verbose=0
    )


def by_tensorflow(task, data, weights):
    given = (data, None, np.array(weights, np.float32))
    return task.evaluate(dataset("tf.data", given, 4), verbose=0)


def by_torch(task, data, weights):
    pictures = data["images"]
    rows = [{**row, "images": picture} for row, picture in zip(ROWS, pictures)]
    elements = [(row, None, weight) for row, weight in zip(rows, weights)]
    return task.evaluate(DataLoader(elements, batch_size=4), verbose=0)


def by_generator(task, data, weights):
    return task.evaluate(iter([(data, None, weights)]), steps=1, verbose=0)


@pytest.mark.parametrize(
    "door",
    [
        by_fit,
        by_tuple,
        by_validation,
        by_evaluate,
        by_train_on_batch,
        by_test_on_batch,
        by_py_dataset,
        by_grain,
        pytest.param(by_tensorflow, marks=pytest.mark.needs_tensorflow),
        by_torch,
        by_generator,
    ],
)
def test_losses_are_those_of_a_loop_by_hand(task, data, expected, door):
    unweighted = expected([1.0] * 4)
    for weights in (WEIGHTS, [0.0, 0.0, 2.0, 0.5]):
        assert abs(expected(weights)[0] - unweighted[0]) > 0.05
        np.testing.assert_allclose(
            door(task, data, weights), expected(weights), rtol=1e-4
        )


def test_a_row_of_weight_0_teaches_nothing(task, data):
    """`fit` changes weights as a step by hand does, and by the rows that count."""
    before = task.get_weights()
    task.optimizer.learning_rate = 0.05
    results = []
    for run in (
        lambda: task.fit(data, sample_weight=WEIGHTS, verbose=0),
        lambda: task.train_on_batch(data, sample_weight=WEIGHTS),
        lambda: task.train_on_batch(data),
    ):
        run()
        results.append(task.get_weights())
        task.set_weights(before)
    task.optimizer.learning_rate = 0.0
    fitted, by_hand, unweighted = (np.concatenate([*map(np.ravel, r)]) for r in results)
    np.testing.assert_allclose(fitted, by_hand, atol=1e-5)
    assert np.abs(fitted - unweighted).max() > 1e-3
