"""Rows to evaluate on are of pictures that were not trained on."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.datasets.rows import Rows
from keras_pg2.finetuning import split_rows


def rows_of(names: list[str], responses: str = "x") -> Rows:
    return Rows(
        {"images": n, "prompts": str(i), "responses": responses}
        for i, n in enumerate(names)
    )


def test_a_picture_is_on_one_side_of_the_split():
    rows = rows_of([f"{i % 10}.png" for i in range(40)])
    train, test = split_rows(rows, 0.2, seed=3)
    pictures = [{row["images"] for row in part} for part in (train, test)]
    assert len(pictures[1]) == 2
    assert not pictures[0] & pictures[1]
    assert len(train) + len(test) == 40
    again = split_rows(rows, 0.2, seed=3)
    assert [list(part) for part in again] == [list(train), list(test)]
    with pytest.raises(ValueError, match="at least two pictures"):
        split_rows(rows_of(["a.png", "a.png"]), 0.5)
    with pytest.raises(ValueError, match="below 1"):
        split_rows(rows, 1.0)


def sides(rows: Rows, **options: object) -> list[set[str]]:
    return [{row["images"] for row in part} for part in split_rows(rows, **options)]


@pytest.mark.parametrize("seed", range(5))
def test_augmented_copies_of_roboflow_stay_together(seed: int):
    """Three of each picture, by the names of its exports; the files are not there."""
    rng = np.random.default_rng(seed)
    letters = np.array(list(string.hexdigits[:16]))
    names = [
        f"train/IMG_{i}_jpg.rf.{''.join(rng.choice(letters, 32))}.jpg"
        for i in range(20)
        for _ in range(3)
    ]
    train, test = sides(rows_of(names), share=0.25, seed=seed)
    assert len(train) + len(test) == 60
    assert len(test) == 15

    def originals(side: set[str]) -> set[str]:
        return {name.partition(".rf.")[0] for name in side}

    assert not originals(train) & originals(test)
    kept, split = split_rows(rows_of(names), 0.25, seed)
    [note] = kept.notes
    assert note.startswith("Pictures on one side with others, as copies")
    assert note.endswith(": 40 of 60.")
    assert split.notes == ()


def scene(seed: int) -> Image.Image:
    """A smooth random picture."""
    levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(levels).resize((320, 240), Image.Resampling.BICUBIC)


def test_pictures_that_look_the_same_stay_together(tmp_path: Path):
    for i in range(8):
        picture = scene(i)
        picture.save(tmp_path / f"{i}.png")
        picture.save(tmp_path / f"saved {i}.jpg", quality=70)
        picture.resize((200, 150)).save(tmp_path / f"small {i}.png")
    rows = rows_of([str(path) for path in sorted(tmp_path.iterdir())])
    for seed in range(4):
        train, test = sides(rows, share=0.25, seed=seed)
        assert len(test) == 6
        numbers = [{Path(name).stem[-1] for name in side} for side in (train, test)]
        assert not numbers[0] & numbers[1]
    kept, _ = split_rows(rows, 0.25)
    assert kept.notes[0].endswith(": 16 of 24.")


def test_pictures_that_differ_in_one_thing_are_no_copies(tmp_path: Path):
    """A thing of 12 x 12 pixels on a plain ground of 320 x 240, somewhere else."""
    for i in range(6):
        picture = Image.new("RGB", (320, 240), "white")
        picture.paste("black", (40 * i, 20, 40 * i + 12, 32))
        picture.save(tmp_path / f"{i}.png")
    kept, split = split_rows(rows_of([str(p) for p in tmp_path.iterdir()]), 0.5)
    assert (len(kept), len(split), kept.notes) == (3, 3, ())


def test_groups_larger_than_the_share_and_nothing_else(tmp_path: Path):
    names = [f"a.rf.{i}.jpg" for i in range(9)] + [f"b.rf.{i}.jpg" for i in range(5)]
    train, test = sides(rows_of(names), share=0.1)
    assert {name[0] for name in test} == {"b"}
    assert len(train) == 9
    for i in range(3):
        Image.new("RGB", (9, 9), "red").save(tmp_path / f"{i}.png")
    rows = rows_of([str(path) for path in tmp_path.iterdir()])
    with pytest.raises(ValueError, match=r"3 that all look the same.*--eval-data"):
        split_rows(rows, 0.5)


def test_pictures_of_one_row_stay_together():
    """Row i has pictures i and i + 1 of each of ten chains."""
    rows = Rows(
        {
            "images": [f"{chain} {i}.png", f"{chain} {i + 1}.png"],
            "prompts": "",
            "responses": "a",
        }
        for chain in range(10)
        for i in range(4)
    )
    train, test = split_rows(rows, 0.2)
    seen = [{x for row in part for x in row["images"]} for part in (train, test)]
    assert not seen[0] & seen[1]
    assert (len(train), len(test), len(seen[1])) == (32, 8, 10)


def test_pictures_in_memory_are_compared_too():
    pictures = [np.array(scene(i // 2)) for i in range(6)]
    rows = Rows({"images": p, "prompts": "", "responses": "a"} for p in pictures)
    kept, split = split_rows(rows, 0.34)
    assert (len(kept), len(split)) == (4, 2)
    assert np.array_equal(split[0]["images"], split[1]["images"])
