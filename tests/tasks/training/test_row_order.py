"""Which rows `fit` takes when, how often each is prepared, and Keras' arguments."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_pg2.datasets.loading import RowBatches
from tests.support.tiny_models import random_task

NUM_ROWS = 8
DATA = {
    "images": np.full((28, 28, 3), 99, np.uint8),
    "prompts": ["caption en"] * NUM_ROWS,
    "responses": [str(i) for i in range(NUM_ROWS)],
}
IN_ORDER = [("0", "1"), ("2", "3"), ("4", "5"), ("6", "7")]


@pytest.fixture(scope="module")
def task():
    """A task that learns nothing, and of which little is computed in backward."""
    task = random_task(sequence_length=16)
    task.backbone.trainable_parts = ("projection",)
    task.compile(keras.optimizers.SGD(0.0))
    return task


@pytest.fixture
def seen(task, monkeypatch):
    """The responses of each batch, as they are prepared."""
    seen = []
    prepare = task.preprocessor.call

    def note(x, **options):
        seen.append(tuple(x["responses"]))
        return prepare(x, **options)

    monkeypatch.setattr(task.preprocessor, "call", note)
    return seen


def epochs_of(task, seen, seed, **options):
    """The batches of three epochs, each as a set, since threads prepare them."""
    keras.utils.set_random_seed(seed)
    seen.clear()
    task.fit(DATA, batch_size=2, epochs=3, verbose=0, **options)
    assert len(seen) == 12
    return [set(seen[i : i + 4]) for i in (0, 4, 8)]


def test_columns_have_a_new_order_in_each_epoch(task, seen):
    epochs = epochs_of(task, seen, seed=3)
    for epoch in epochs:
        assert sorted(sum(epoch, ())) == DATA["responses"]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert set(IN_ORDER) not in epochs
    assert epochs_of(task, seen, seed=3) == epochs
    assert epochs_of(task, seen, seed=4) != epochs
    assert epochs_of(task, seen, seed=3, shuffle=False) == [set(IN_ORDER)] * 3


@pytest.mark.one_backend("which rows are taken is of NumPy")
def test_nothing_is_shuffled_but_in_training(task, seen):
    for run in (task.evaluate, task.predict):
        seen.clear()
        run(DATA, batch_size=2, verbose=0)
        assert set(seen) == set(IN_ORDER)


def test_the_last_rows_validate(task, seen):
    """Split off before rows are shuffled, as `keras.Model.fit` documents."""
    weights = [0.5, 2.0] * 4
    history = task.fit(
        DATA,
        batch_size=2,
        sample_weight=weights,
        validation_split=0.25,
        epochs=2,
        verbose=0,
    ).history
    trained = [batch for batch in seen if int(batch[0]) < 6]
    assert len(trained) == 6
    assert seen.count(("6", "7")) == 2
    for rows in (trained[:3], trained[3:]):
        assert sorted(sum(rows, ())) == DATA["responses"][:6]
    last = {**DATA, **{k: DATA[k][6:] for k in ("prompts", "responses")}}
    expected, _ = task.evaluate(last, sample_weight=weights[6:], verbose=0)
    np.testing.assert_allclose(history["val_loss"], expected, rtol=1e-5)


@pytest.mark.one_backend("which rows are taken is of NumPy")
def test_arguments_of_keras(task, seen):
    options = {"validation_data": DATA, "validation_batch_size": 4, "verbose": 0}
    history = task.fit(
        DATA,
        shuffle=False,
        steps_per_epoch=4,
        initial_epoch=1,
        epochs=3,
        validation_freq=[3],
        validation_steps=1,
        **options,
    )
    assert history.epoch == [1, 2]
    assert len(history.history["val_loss"]) == 1
    # Without batch_size rows are divided into the steps, as Keras does with arrays.
    assert set(seen[:4]) == set(seen[4:8]) == set(IN_ORDER)
    assert ("0", "1", "2", "3") in seen[8:]


@pytest.mark.one_backend("how callbacks are given to Keras")
@pytest.mark.parametrize("kind", ["one", "list", "CallbackList"])
def test_callbacks_of_any_kind(task, kind):
    class Counting(keras.callbacks.Callback):
        num_batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.num_batches += 1

    counting = Counting()
    callbacks = {
        "one": counting,
        "list": [counting],
        "CallbackList": keras.callbacks.CallbackList([counting], True, model=task),
    }[kind]
    task.fit(DATA, batch_size=2, verbose=0, callbacks=callbacks)
    assert counting.num_batches == 4


@pytest.mark.parametrize(
    "form",
    ["columns", pytest.param("RowBatches", marks=pytest.mark.one_backend("the same"))],
)
def test_cut_responses_are_counted_once(task, form):
    """Also in the first epoch of a compiled model, at whose batches Keras looks."""
    long = "a red ball on the grass near a blue house with a green roof"
    responses = [long, "b", long, long, "c", long]
    data = {**DATA, "prompts": ["ocr"] * 6, "responses": responses}
    options = {"batch_size": 1}
    if form == "RowBatches":
        rows = [
            {"images": DATA["images"], "prompts": "ocr", "responses": response}
            for response in responses
        ]
        data, options = RowBatches(rows, 1, num_workers=2), {}
    fresh = type(task)(task.backbone, task.preprocessor)
    fresh.compile(keras.optimizers.SGD(0.0))
    counter = task.preprocessor
    counter.num_cut_responses = 0
    with pytest.warns(UserWarning, match="in sequence_length=16, received . that did"):
        fresh.fit(data, verbose=0, **options)
    assert counter.num_cut_responses == 4
    fresh.evaluate(data, verbose=0, **options)
    assert counter.num_cut_responses == 8
    fresh.fit(data, epochs=2, verbose=0, **options)
    assert counter.num_cut_responses == 16


@pytest.mark.one_backend("what is refused before training")
@pytest.mark.parametrize("in_list", [False, True])
def test_a_backup_amid_an_epoch_is_refused(task, tmp_path, in_list):
    """Keras would restore its weights, and go through the whole epoch again."""
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=1)
    callbacks = [backup]
    if in_list:
        callbacks = keras.callbacks.CallbackList([backup], model=task)
    with pytest.raises(ValueError, match=r"save_freq='epoch'. Received: save_freq=1:"):
        task.fit(DATA, callbacks=callbacks, verbose=0)
    assert not (tmp_path / "backup").exists()
