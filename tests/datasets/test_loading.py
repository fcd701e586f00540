from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_pg2.datasets.loading import RowBatches, grain_batches
from keras_pg2.datasets.order import EpochOrder
from keras_pg2.datasets.rows import Rows
from tests.support.row_files import NUM_PICTURES, make_rows


@pytest.fixture
def rows(tmp_path):
    return make_rows(tmp_path)


def responses(batches):
    return [batch["responses"] for batch in batches]


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 40),
    batch_size=st.integers(1, 7),
    num_shards=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_shards_see_every_row_once_an_epoch(
    num_rows, batch_size, num_shards, seed, epoch, shuffle
):
    shards = [
        EpochOrder(num_rows, batch_size, shuffle, seed, shard, num_shards)
        for shard in range(min(num_shards, num_rows))
        if num_rows >= num_shards
    ]
    seen = [row for shard in shards for row in shard.rows(epoch).tolist()]
    if shards:
        assert sorted(seen) == list(range(num_rows))
        lengths = [len(shard.rows(epoch)) for shard in shards]
        assert lengths == [shard.num_rows_of_shard for shard in shards]
        assert max(lengths) - min(lengths) <= 1


def test_all_shards_have_as_many_batches_without_the_remainder():
    # 11 rows for 2 shards: 5 each, of which 2 batches of 2.
    shards = [
        EpochOrder(11, 2, shard_index=i, num_shards=2, drop_remainder=True)
        for i in range(2)
    ]
    assert [shard.num_batches for shard in shards] == [2, 2]
    assert not set(shards[0].rows(0)) & set(shards[1].rows(0))


def test_orders_depend_on_seed_and_epoch_alone():
    order = EpochOrder(50, 4, seed=3)
    assert order.rows(0).tolist() != order.rows(1).tolist()
    assert order.rows(0).tolist() != EpochOrder(50, 4, seed=4).rows(0).tolist()
    assert order.rows(7).tolist() == EpochOrder(50, 8, seed=3).rows(7).tolist()
    assert EpochOrder(5, 4, shuffle=False).rows(9).tolist() == [0, 1, 2, 3, 4]


def test_batches_without_shuffling_are_the_rows_in_order(rows):
    batches = RowBatches(rows, 2, shuffle=False)
    assert len(batches) == 3
    assert responses(batches) == [["0", "1"], ["2", "3"], ["4"]]
    assert batches[1]["images"] == [rows[2]["images"], rows[3]["images"]]
    dropped = RowBatches(rows, 2, shuffle=False, drop_remainder=True)
    assert responses(dropped) == [["0", "1"], ["2", "3"]]
    with pytest.raises(IndexError, match=r"0\.\.2, received 3"):
        batches[3]


@pytest.mark.parametrize("options", [{}, {"drop_remainder": True}, {"image_size": 8}])
def test_grain_gives_the_batches_of_keras(rows, options):
    ours = RowBatches(rows, 2, seed=5, **options)
    theirs = grain_batches(rows, 2, seed=5, **options).repeat(3)
    expected = []
    for _ in range(3):
        expected += list(ours)
        ours.epoch += 1
    found = list(theirs)
    assert responses(found) == responses(expected)
    assert len(found) == 3 * len(ours)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a["images"], b["images"])
    # A new order in each epoch.
    assert len({str(responses(expected[i::3])) for i in range(3)}) == 3


def test_later_epochs_can_be_started_with(rows):
    first = RowBatches(rows, 5, seed=2)
    first.epoch += 1
    assert responses(RowBatches(rows, 5, seed=2, epoch=1)) == responses(first)
    assert responses(grain_batches(rows, 5, seed=2, epoch=1)) == responses(first)


def test_a_stopped_pass_goes_on_where_it_was(rows):
    import grain

    batches = grain_batches(rows, 2, seed=1).repeat(2)
    whole = responses(batches)
    assert responses(batches[4:]) == whole[4:]
    reading = grain.ReadOptions(num_threads=2, prefetch_buffer_size=3)
    iterator = iter(batches.to_iter_dataset(reading))
    begun = responses(itertools.islice(iterator, 4))
    state = iterator.get_state()
    again = iter(batches.to_iter_dataset(reading))
    again.set_state(state)
    assert begun + responses(again) == whole


def test_decoded_pictures_are_those_of_the_preprocessor(rows):
    from tests.support.tiny_models import random_task

    preprocessor = random_task(sequence_length=24).preprocessor
    [decoded] = RowBatches(rows, 5, shuffle=False, image_size=28)
    assert decoded["images"].dtype == np.uint8
    assert decoded["images"].shape == (NUM_PICTURES, 28, 28, 3)
    assert decoded["images"][:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]
    [paths] = RowBatches(rows, 5, shuffle=False)
    ours, theirs = preprocessor(decoded)[0], preprocessor(paths)[0]
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key])


def test_several_pictures_in_a_row(rows):
    paths = [row["images"] for row in rows[:2]]
    row = {**rows[0], "images": paths}
    [batch] = RowBatches([row, row], 2, image_size=8)
    assert batch["images"].shape == (2, 2, 8, 8, 3)
    assert batch["images"][1, :, 0, 0, 0].tolist() == [0, 40]


def test_rows_of_one_and_of_two_pictures_are_told_at_once(rows):
    two = {**rows[1], "images": [rows[1]["images"], rows[2]["images"]]}
    mixed = Rows([rows[0], rows[1], two], sources=["a:1", "a:2", "a:3"])
    for make in (RowBatches, grain_batches):
        with pytest.raises(ValueError, match=r"a:3: expected.*in a:1, 1.*Received: 2"):
            make(mixed, 2)
    with pytest.raises(ValueError, match=r"Row 2: expected as many.*in Row 0"):
        RowBatches(list(mixed), 2)
    # One at a time they are as many, and a picture is a list of one.
    assert len(RowBatches(mixed, 1)) == 3
    RowBatches([rows[0], {**rows[1], "images": [rows[1]["images"]]}], 2)


def test_augmentations_are_repeatable_and_new_in_each_epoch(rows):
    def note(row, rng):
        return {**row, "responses": f"{row['responses']} {rng.integers(10**9)}"}

    def texts(batches):
        return sorted(itertools.chain(*responses(batches)))

    first = RowBatches(rows, 2, seed=1, augmentations=[note])
    noted = texts(first)
    assert texts(RowBatches(rows, 3, seed=1, augmentations=[note])) == noted
    first.epoch += 1
    assert not set(texts(first)) & set(noted)
    assert not set(texts(RowBatches(rows, 2, seed=2, augmentations=[note]))) & set(
        noted
    )
    assert rows[0]["responses"] == "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size as a whole number >= 1. Received: 0"),
        ({"seed": -1}, "seed >= 0, received -1"),
        ({"epoch": -1}, "epoch >= 0, received -1"),
        ({"shard_index": 2, "num_shards": 2}, r"0\.\.num_shards - 1.*shard_index=2"),
        ({"num_shards": 0}, r"0\.\.num_shards - 1"),
        ({"batch_size": 9, "drop_remainder": True}, "one batch of 9.*5 rows"),
        ({"image_size": 0}, "image_size >= 1, received 0"),
    ],
)
def test_bad_options(rows, options, message):
    for make in (RowBatches, grain_batches):
        with pytest.raises(ValueError, match=message):
            make(rows, **{"batch_size": 2, **options})


@pytest.mark.parametrize(
    "row",
    [
        {"images": "a.png", "prompts": "ocr"},
        {"images": "a.png", "prompts": "", "responses": "", "response_parts": ()},
        "a.png",
    ],
)
def test_rows_of_other_keys_are_refused(rows, row):
    with pytest.raises(ValueError, match="Expected rows of images, prompts, responses"):
        RowBatches([*rows, row], 2)
    with pytest.raises(ValueError, match="0 rows"):
        RowBatches([], 2)


def test_without_grain_the_extra_is_named(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[finetune\].*RowBatches"):
        grain_batches(rows, 2)
