"""`fit` and `evaluate` take rows in every form."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from torch.utils.data import DataLoader

from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.loading import RowBatches, grain_batches
from keras_pg2.datasets.rows import columns
from keras_pg2.tasks.training.feeding import (
    ColumnBatches,
    PreparedBatches,
    prepare_data,
)
from tests.support.row_files import make_rows
from tests.support.tiny_models import random_task

NUM_EPOCHS = 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return make_rows(tmp_path_factory.mktemp("pictures"))[:4]


@pytest.fixture(scope="module")
def compiled():
    """One task for all tests, as its steps are compiled but once; and its weights."""
    task = random_task(sequence_length=16)
    task.compile(optimizer=keras.optimizers.SGD(0.02))
    return task, task.get_weights()


@pytest.fixture
def task(compiled):
    """The task, untrained."""
    task, weights = compiled
    task.set_weights(weights)
    return task


@pytest.fixture(scope="module")
def expected(compiled, rows):
    """Losses of training on arrays, whose way is KerasHub's own."""
    task, weights = compiled
    task.set_weights(weights)
    data, options = columns(rows), {"batch_size": 2, "verbose": 0}
    history = task.fit(data, epochs=NUM_EPOCHS, shuffle=False, **options).history
    found = task.evaluate(data, **options)
    task.set_weights(weights)
    return history["loss"], found


def by_keras(rows):
    return RowBatches(rows, 2, shuffle=False, num_workers=2)


def by_keras_decoded(rows):
    return RowBatches(rows, 2, shuffle=False, image_size=28, num_workers=1)


def by_columns(rows):
    return ColumnBatches(columns(rows), 2)


def by_grain(rows):
    return grain_batches(rows, 2, shuffle=False, image_size=28)


def by_grain_with_paths(rows):
    return grain_batches(rows, 2, shuffle=False)


def by_tensorflow(rows):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(columns(rows)).batch(2)


def by_torch(rows):
    return DataLoader(rows, batch_size=2)


@pytest.mark.parametrize(
    "make",
    [
        by_keras,
        by_keras_decoded,
        by_columns,
        by_grain,
        by_grain_with_paths,
        pytest.param(by_tensorflow, marks=pytest.mark.needs_tensorflow),
        by_torch,
    ],
)
def test_every_form_trains_as_arrays_do(expected, task, rows, make):
    history = task.fit(make(rows), epochs=NUM_EPOCHS, verbose=0, shuffle=False)
    np.testing.assert_allclose(history.history["loss"], expected[0], rtol=1e-4)
    found = task.evaluate(make(rows), verbose=0)
    np.testing.assert_allclose(found, expected[1], rtol=1e-4)


@pytest.mark.parametrize(
    "validation",
    [
        by_keras,
        by_torch,
        pytest.param(by_tensorflow, marks=pytest.mark.needs_tensorflow),
        by_grain,
        columns,
    ],
)
def test_validation_data_may_be_of_another_form(expected, task, rows, validation):
    history = task.fit(
        by_keras(rows),
        epochs=NUM_EPOCHS,
        batch_size=2,
        validation_data=validation(rows),
        verbose=0,
    ).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    np.testing.assert_allclose(history["val_loss"][-1], expected[1][0], rtol=1e-4)


def test_arrays_with_a_loader_to_validate(expected, task, rows):
    history = task.fit(
        columns(rows),
        batch_size=2,
        epochs=NUM_EPOCHS,
        sample_weight=np.ones(4, np.float32),
        validation_data=by_keras(rows),
        verbose=0,
    ).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    np.testing.assert_allclose(history["val_loss"][-1], expected[1][0], rtol=1e-4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_each_epoch_has_its_own_order(compiled, task, rows, num_workers):
    theirs = grain_batches(rows, 2, seed=3, epoch=4)
    orders = [str(batch["responses"]) for batch in theirs.repeat(3)]
    assert len(set(orders)) > 3  # Else the test could not fail.
    expected = task.fit(theirs, epochs=3, verbose=0, shuffle=False).history
    task.set_weights(compiled[1])
    batches = RowBatches(rows, 2, seed=3, epoch=4, num_workers=num_workers)
    losses = task.fit(batches, epochs=2, verbose=0).history["loss"]
    assert batches.epoch == 6
    losses += task.fit(batches, initial_epoch=2, epochs=3, verbose=0).history["loss"]
    assert batches.epoch == 7
    np.testing.assert_allclose(losses, expected["loss"], rtol=1e-4)


def test_training_changes_the_table_that_logits_are_made_with(task, rows):
    task.fit(columns(rows), batch_size=2, verbose=0, shuffle=False)
    [inputs, *_] = task.preprocessor(columns(rows))
    backbone = task.backbone
    hidden = backbone(inputs | {"images": inputs["images"][:, None]})
    length = inputs["token_ids"].shape[1]
    expected = backbone.project_to_vocabulary(hidden[:, -length:])
    np.testing.assert_allclose(
        *map(keras.ops.convert_to_numpy, (task(inputs), expected)), atol=1e-5
    )


def test_lines_of_a_file_are_trained_on(task, rows, tmp_path):
    lines = [
        f'{{"image": "{row["images"]}", "prefix": "ocr", "suffix": "a red ball"}}'
        for row in rows
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines))
    data = RowBatches(read_jsonl(path), 2, seed=1)
    losses = task.fit(data, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_weights_and_hooks_are_passed_on(task, rows):
    class Noted(ColumnBatches):
        events: tuple[str, ...] = ()

        def on_epoch_begin(self):
            self.events += ("begin",)

        def on_epoch_end(self):
            self.events += ("end",)

    data = Noted((columns(rows), None, np.array([1.0, 0, 0, 0], np.float32)), 3)
    prepared = PreparedBatches(data, task.preprocessor)
    assert prepared.num_batches == 2
    weights = prepared[0][2]
    assert weights.shape == (3, 16)
    assert weights[0].sum() > 0
    assert weights[1:].sum() == 0
    prepared.on_epoch_begin()
    prepared.on_epoch_end()
    assert data.events == ("begin", "end")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([1, 2], TypeError, "received list"),
        ({"images": [], "prompts": []}, ValueError, "one length above 0"),
        ({"images": ["a"], "prompts": ["b", "c"]}, ValueError, "'prompts': 2"),
        (({"prompts": ["b"]}, [1]), ValueError, "made of the responses"),
    ],
)
def test_bad_data(data, error, message):
    with pytest.raises(error, match=message):
        prepare_data(data, lambda *x: x, 2)
