"""A drawn world as files is read as what it is."""

from __future__ import annotations

import json

import numpy as np

from keras_pg2 import read_jsonl
from keras_pg2.datasets.drawn import molecules, music
from keras_pg2.datasets.drawn.folder import write_folder
from keras_pg2.datasets.drawn.splitting import split_of
from keras_pg2.datasets.public import registry
from keras_pg2.preprocessing.images import open_image


def test_rows_are_what_was_drawn(tmp_path) -> None:
    examples = music.examples("validation", 3)
    path = write_folder(examples, tmp_path, "validation")
    assert path == tmp_path / "validation.jsonl"
    for row, example in zip(read_jsonl(path), examples, strict=True):
        assert row["prompts"] == "kern"
        assert (row["responses"],) == example.truth.answers
        np.testing.assert_array_equal(open_image(row["images"]), example.images)
    first = json.loads(path.read_text().splitlines()[0])
    assert first["image"] == "validation/000000.png"
    assert first["kind"] == examples[0].truth.kind


def test_lines_are_what_evaluate_reads(tmp_path) -> None:
    drawn = molecules.examples("validation", 12)
    path = write_folder(drawn, tmp_path, "validation")
    read = registry.read("jsonl", path)
    assert any(one.response not in one.truth.answers for one in drawn)
    for one, example in zip(read, drawn, strict=True):
        assert (one.truth.answers, one.truth.kind) == (
            example.truth.answers,
            example.truth.kind,
        )
        assert one.response == example.response
        assert one.fields["prompt"] == "smiles"


def test_a_tenth_is_for_the_test_and_half_as_much_for_validation() -> None:
    splits = [split_of(str(number)) for number in range(4000)]
    shares = {name: splits.count(name) / 4000 for name in set(splits)}
    assert set(shares) == {"train", "validation", "test"}
    assert abs(shares["test"] - 0.1) < 0.02
    assert abs(shares["validation"] - 0.05) < 0.02
