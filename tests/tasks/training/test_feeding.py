"""`fit`, `evaluate` and `predict` take rows in every form."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.loading import RowBatches, grain_batches
from keras_pg2.datasets.rows import Rows, columns
from keras_pg2.tasks.training.feeding.prepared import PreparedBatches
from keras_pg2.tasks.training.feeding.tables import Table, TableBatches
from tests.support.one_program import apply
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
    """Losses of each epoch, then loss and accuracy, by steps that are called by hand.

    All rows have as many tokens, so that means are of rows, batches or tokens.
    """
    task, weights = compiled
    task.set_weights(weights)
    halves = [columns(rows[:2]), columns(rows[2:])]
    losses = [
        np.mean([task.train_on_batch(half)[0] for half in halves])
        for _ in range(NUM_EPOCHS)
    ]
    found = np.mean([task.test_on_batch(half) for half in halves], axis=0)
    task.set_weights(weights)
    return losses, found


def open_picture(path):
    with Image.open(path) as picture:
        return picture.copy()


class HubRows:
    """Stands for a data set of Hugging Face, which decodes a picture with its row."""

    column_names = ("image", "prompts", "responses")

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if not isinstance(index, int):
            return columns(self[i] for i in range(len(self))[index])
        row = dict(self.rows[index])
        return {"image": open_picture(row.pop("images")), **row}


class Streamed(IterableDataset):
    """Rows of unknown number."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def decoded(rows, read=open_picture):
    return [{**row, "images": read(row["images"])} for row in rows]


def by_columns(rows):
    return columns(rows)


def by_rows(rows):
    return Rows(rows)


def by_keras(rows):
    return RowBatches(rows, 2, shuffle=False, num_workers=2)


def by_keras_decoded(rows):
    return RowBatches(rows, 2, shuffle=False, image_size=28, num_workers=1)


def by_grain(rows):
    return grain_batches(rows, 2, shuffle=False, image_size=28)


def by_grain_with_paths(rows):
    return grain_batches(rows, 2, shuffle=False)


def by_grain_iterator(rows):
    return grain_batches(rows, 2, shuffle=False).to_iter_dataset()


def by_tensorflow(rows):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(columns(rows)).batch(2)


def by_torch(rows):
    return DataLoader(rows, batch_size=2)


def by_torch_with_pictures(rows):
    return DataLoader(decoded(rows), batch_size=2)


def by_torch_with_tuples(rows):
    return DataLoader([(row, None, 0.5) for row in rows], batch_size=2)


def by_torch_with_workers(rows):
    return DataLoader(rows, batch_size=2, num_workers=1)


def by_torch_as_lists(rows):
    return DataLoader(decoded(rows), batch_size=2, collate_fn=list)


def by_pictures(rows):
    return columns(decoded(rows))


def by_arrays(rows):
    return columns(decoded(rows, lambda path: np.array(open_picture(path))))


def by_arrays_in_batches(rows):
    return TableBatches(Table(by_arrays(rows)), 2)


def by_lists_of_one(rows):
    images = [[row["images"]] for row in rows[:3]]
    return {**columns(rows), "images": [*images, rows[3]["images"]]}


def by_hub(rows):
    return HubRows(rows)


def encoded(path):
    """A picture as a data set of Hugging Face gives it with decode=False."""
    return {"bytes": Path(path).read_bytes(), "path": None}


def by_encoded(rows):
    return decoded(rows, encoded)


def by_encoded_in_torch(rows):
    return DataLoader(decoded(rows, encoded), batch_size=2)


def by_hub_in_torch(rows):
    return DataLoader(HubRows(rows), batch_size=2)


def by_hub_columns(rows):
    return {**HubRows(rows)[:]}


def by_batches_of_rows(rows):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return rows[2 * index : 2 * index + 2]

    return Batches()


def only(*makers):
    reason = "pictures and texts, before they are arrays"
    return [pytest.param(m, marks=pytest.mark.one_backend(reason)) for m in makers]


FORMS = [
    by_columns,
    by_rows,
    by_keras,
    by_grain,
    by_torch,
    pytest.param(by_tensorflow, marks=pytest.mark.needs_tensorflow),
    *only(
        by_keras_decoded,
        by_grain_with_paths,
        by_torch_with_pictures,
        by_torch_with_tuples,
        by_torch_with_workers,
        by_torch_as_lists,
        by_pictures,
        by_arrays,
        by_arrays_in_batches,
        by_lists_of_one,
        by_encoded,
        by_encoded_in_torch,
        by_hub,
        by_hub_in_torch,
        by_hub_columns,
        by_batches_of_rows,
    ),
]
TABLES = (
    by_encoded,
    by_columns,
    by_rows,
    by_pictures,
    by_arrays,
    by_lists_of_one,
    by_hub,
)


def options_of(make):
    is_table = make in (*TABLES, by_hub_columns)
    return {"batch_size": 2, "shuffle": False} if is_table else {}


@pytest.mark.parametrize("make", FORMS)
def test_every_form_trains_as_steps_by_hand_do(expected, task, rows, make):
    options = options_of(make)
    history = task.fit(make(rows), epochs=NUM_EPOCHS, verbose=0, **options).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    options.pop("shuffle", None)
    found = task.evaluate(make(rows), verbose=0, **options)
    np.testing.assert_allclose(found, expected[1], rtol=1e-4)


def test_a_generator_trains_with_steps_and_evaluates(expected, task, rows):
    def batches():
        while True:
            yield rows[:2], None, [0.5, 0.5]
            yield columns(rows[2:]), None, [0.5, 0.5]

    history = task.fit(batches(), epochs=2, steps_per_epoch=2, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    found = task.evaluate(batches(), steps=2, verbose=0)
    np.testing.assert_allclose(found, expected[1], rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.one_backend("Keras' own adapters, which have no length")
@pytest.mark.parametrize(
    "make", [by_grain_iterator, lambda rows: DataLoader(Streamed(rows), batch_size=2)]
)
def test_streams_without_a_length(expected, task, rows, make):
    data = make(rows)
    history = task.fit(data, epochs=NUM_EPOCHS, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    found = task.evaluate(data, verbose=0)
    np.testing.assert_allclose(found, expected[1], rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        by_keras,
        by_torch,
        *only(by_rows, by_pictures, by_hub, by_torch_with_pictures, by_grain),
    ],
)
def test_predict_gives_the_logits_of_every_form(task, rows, make):
    inputs, _, _ = task.preprocessor(columns(rows))
    expected = keras.ops.convert_to_numpy(apply(task, inputs))
    options = options_of(make)
    options.pop("shuffle", None)
    found = task.predict(make(rows), verbose=0, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.one_backend("pictures, before they are arrays")
def test_single_batches_of_every_form(compiled, task, rows):
    expected = task.test_on_batch(columns(rows))
    logits = task.predict_on_batch(columns(rows))
    for data in (by_pictures(rows), by_arrays(rows), rows, decoded(rows)):
        assert task.test_on_batch(data) == pytest.approx(expected)
        np.testing.assert_allclose(task.predict_on_batch(data), logits, atol=1e-5)
        assert task.train_on_batch(data)[0] == pytest.approx(expected[0])
        task.set_weights(compiled[1])


@pytest.mark.parametrize(
    "validation",
    [
        by_columns,
        by_keras,
        by_torch,
        pytest.param(by_tensorflow, marks=pytest.mark.needs_tensorflow),
        *only(by_grain, by_rows),
    ],
)
def test_validation_data_may_be_of_another_form(expected, task, rows, validation):
    batch_size = 2 if validation in TABLES else None
    history = task.fit(
        by_keras(rows),
        epochs=NUM_EPOCHS,
        batch_size=batch_size,
        validation_data=validation(rows),
        verbose=0,
    ).history
    np.testing.assert_allclose(history["loss"], expected[0], rtol=1e-4)
    np.testing.assert_allclose(history["val_loss"][-1], expected[1][0], rtol=1e-4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_each_epoch_has_its_own_order(compiled, task, rows, num_workers):
    theirs = grain_batches(rows, 2, seed=3, epoch=4)
    orders = [str(batch["responses"]) for batch in theirs.repeat(3)]
    assert len(set(orders)) > 3  # Else the test could not fail.
    expected = task.fit(theirs, epochs=3, verbose=0).history
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
    hidden = apply(backbone, inputs | {"images": inputs["images"][:, None]})
    length = inputs["token_ids"].shape[1]
    expected = backbone.project_to_vocabulary(hidden[:, -length:])
    np.testing.assert_allclose(
        *map(keras.ops.convert_to_numpy, (apply(task, inputs), expected)), atol=1e-5
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


class Noted(keras.utils.PyDataset):
    """Notes what is asked of it."""

    def __init__(self, rows, workers=1):
        super().__init__(workers=workers)
        self.rows = rows
        self.events = []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.events.append(index)
        return [self.rows[index]]

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.one_backend("no threads"))]
)
@pytest.mark.eager
def test_each_batch_is_read_once_between_begin_and_end(compiled, rows, workers):
    """Also in a first epoch, for which Keras looks at batches to learn their shapes."""
    task, _ = compiled
    fresh = type(task)(task.backbone, task.preprocessor)
    fresh.compile(keras.optimizers.SGD(0.0))
    trained, tested = Noted(rows[:3], workers), Noted(rows[:3], workers)
    fresh.fit(trained, epochs=2, validation_data=tested, verbose=0)
    for data in (trained, tested):
        assert data.events[0] == data.events[5] == "begin"
        assert data.events[4] == data.events[9] == "end"
        assert sorted(data.events[1:4]) == sorted(data.events[6:9]) == [0, 1, 2]


def test_a_pass_may_be_several_epochs(task, rows):
    batches = RowBatches(rows, 1, seed=3, num_workers=2)
    expected = [batch["responses"] for batch in batches]
    batches.epoch = 1
    expected += [batch["responses"] for batch in batches]
    batches.epoch = 0
    seen = []
    prepare = task.preprocessor.call

    def note(x, **options):
        seen.append(x["responses"])
        return prepare(x, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task.preprocessor, "call", note)
        task.fit(batches, epochs=4, steps_per_epoch=2, verbose=0)
    assert sorted(seen[:4]) == sorted(expected[:4]) == [["0"], ["1"], ["2"], ["3"]]
    assert sorted(seen[4:]) == sorted(expected[4:])
    assert batches.epoch == 2


@pytest.mark.one_backend("batches of NumPy")
def test_weights_are_passed_on(task, rows):
    data = TableBatches(Table(columns(rows), None, [1.0, 0, 0, 0]), 3)
    prepared = PreparedBatches(data, task.preprocess_samples)
    assert prepared.num_batches == 2
    weights = prepared[0][2]
    assert weights.shape == (3, 16)
    assert weights[0].sum() > 0
    assert weights[1:].sum() == 0


@pytest.mark.one_backend("rows, before they are arrays")
def test_one_picture_for_all_rows(task, rows):
    data = {**columns(rows), "images": rows[0]["images"]}
    repeated = {**data, "images": [rows[0]["images"]] * 4}
    found, expected = (task.evaluate(x, verbose=0) for x in (data, repeated))
    assert found == pytest.approx(expected)


PROMPTS = {"prompts": ["b", "c"], "responses": ["d", "e"]}


@pytest.mark.one_backend("what is refused before training")
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, TypeError, "Received: NoneType"),
        ([1, 2], TypeError, "Received: int"),
        ("rows.jsonl", TypeError, "Received: str"),
        (np.zeros(3), TypeError, "Received: ndarray"),
        ({"images": [], "prompts": []}, ValueError, "0 of rows"),
        ({"images": ["a"], "prompts": ["b", "c"]}, ValueError, "2 of prompts"),
        ({"prompts": "b", "responses": "c"}, TypeError, "prompts as a list.*str"),
        (({"prompts": ["b"], "responses": ["c"]}, [1]), ValueError, "y=None"),
        ((PROMPTS, None, [1.0]), ValueError, "2 of rows, 1 of sample_weight"),
        ((PROMPTS, None, [1.0, -1.0]), ValueError, r"as finite.*-1\.0 in Row 1"),
        ((PROMPTS, None, [1.0, np.nan]), ValueError, "weights as finite.*nan in Row 1"),
        ((PROMPTS, None, ["a", "b"]), ValueError, "weights as finite numbers.*'a'"),
        ((PROMPTS, None, 2.0), TypeError, "sample_weight as a list.*float"),
        ((PROMPTS, None, np.array(2.0)), TypeError, "sample_weight as a list.*ndarray"),
        ([], ValueError, "at least one row"),
        ((), ValueError, "at least one row"),
        ((PROMPTS, None, None, [1]), ValueError, r"tuple of 4 \(dict, NoneType, NoneT"),
        ((PROMPTS, None, [[1.0], [2.0]]), ValueError, r"shape \(2,\).*\(2, 1\)"),
        ({**PROMPTS, "id": [1, 2]}, ValueError, "only the keys.*'id'"),
        ([{"prompts": "b", "responses": "c", "images": n} for n in (["a"], ["a", "b"])],
         ValueError, "Row 1: expected as many pictures as in Row 0, 1.*Received: 2"),
        (DataLoader([1, 2]), TypeError, "a batch as a dict of columns.*Tensor"),
        ((row for row in [{"prompts": "b", "responses": "c"}]), ValueError,
         "Received: one row, with prompts='b'"),
    ],
)  # fmt: skip
def test_bad_data(task, data, error, message):
    with pytest.raises(error, match=message):
        task.fit(data, verbose=0)


@pytest.mark.one_backend("what is refused before training")
@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (by_keras, {"sample_weight": [0.5] * 4}, "sample_weight=None beside a RowBat"),
        (by_torch, {"y": [1] * 4}, "y=None beside a DataLoader"),
        (by_grain, {"batch_size": 4}, "batch_size=None beside a "),
        (by_keras, {"validation_split": 0.5}, "columns or a list of rows"),
        (by_columns, {"validation_split": 0.9}, "Received: 0.9 of 4 rows"),
        (by_columns, {"shuffle": "batch"}, "shuffle as True or False"),
        (by_columns, {"class_weight": {0: 2.0}}, "class_weight=None.*sample_weight"),
        (by_columns, {"batch_size": 0}, "^Expected batch_size as a whole number >= 1"),
        (by_columns, {"batch_size": "2"}, "whole number >= 1, or None. Received: '2'"),
        (by_columns, {"batch_size": 2.0}, "whole number >= 1, or None. Received: 2.0"),
        (
            by_keras,
            {"validation_batch_size": 3},
            "^Expected validation_batch_size=None",
        ),
        (lambda rows: iter([columns(rows)]), {"epochs": 2}, "steps_per_epoch with a"),
    ],
)
def test_arguments_that_have_no_meaning(task, rows, make, options, message):
    data = make(rows)
    if "validation_batch_size" in options:
        options = {"validation_data": data, **options}
    with pytest.raises(ValueError, match=message):
        task.fit(data, verbose=0, **options)


@pytest.mark.one_backend("what is refused before training")
@pytest.mark.parametrize("make", [list, by_columns, Rows, tuple, by_keras])
def test_a_missing_picture_is_told_before_training(task, rows, make):
    gone = [*rows, {**rows[0], "images": "gone.png"}]
    before = int(keras.ops.convert_to_numpy(task.optimizer.iterations))
    size = None if make is by_keras else 1
    with pytest.raises(FileNotFoundError, match=r"^Row 4: .*'gone\.png' does not"):
        task.fit(make(gone), batch_size=size, verbose=0)
    assert keras.ops.convert_to_numpy(task.optimizer.iterations) == before


@pytest.mark.one_backend("rows, before they are arrays")
def test_rows_in_tuples(task, rows):
    weights = [0.5, 0.0, 2.0, 1.0]
    expected = task.evaluate(rows, sample_weight=weights, verbose=0)
    pairs = [(row, None, weight) for row, weight in zip(rows, weights)]
    assert task.evaluate(pairs, verbose=0) == pytest.approx(expected)
    plain = task.evaluate(rows, verbose=0)
    assert task.evaluate(tuple(rows), verbose=0) == pytest.approx(plain)
    assert task.evaluate([(row,) for row in rows], verbose=0) == pytest.approx(plain)
    with pytest.raises(ValueError, match="with y or sample_weight beside it"):
        task.evaluate(pairs, sample_weight=weights)


@pytest.mark.one_backend("rows, before they are arrays")
def test_wrong_weights_are_called_as_in_their_file(task, rows):
    named = Rows(rows, sources=[f"a.jsonl:{i}" for i in range(1, 5)])
    with pytest.raises(ValueError, match=r"Received: -2\.0 in a\.jsonl:3\."):
        task.fit(named, sample_weight=[1.0, 1.0, -2.0, 1.0], verbose=0)


@pytest.mark.one_backend("what is refused before training")
def test_generators_are_read_once(task, rows):
    with pytest.raises(ValueError, match="validation_data that can be read after each"):
        task.fit(
            columns(rows), epochs=2, validation_data=iter([columns(rows)]), verbose=0
        )


def test_rows_of_tensorflow_are_told_from_batches(tf, task, rows):
    data = tf.data.Dataset.from_tensor_slices(columns(rows))
    with pytest.raises(ValueError, match=r"Received: one row.*\.batch\(8\)"):
        task.fit(data, verbose=0)


@pytest.mark.one_backend("the order of batches")
def test_a_data_set_keeps_its_order_or_is_shuffled_by_batches(task, rows):
    with pytest.warns(UserWarning, match="shuffle=True with a DataLoader"):
        task.fit(by_torch(rows), shuffle=True, verbose=0)
    keras.utils.set_random_seed(0)
    data = Noted(rows)
    task.fit(data, epochs=3, shuffle=True, verbose=0)
    orders = [tuple(data.events[i + 1 : i + 5]) for i in (0, 6, 12)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(orders)) == 3
