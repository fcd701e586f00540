"""Data files found out, split and known again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.datasets.rows import Rows
from keras_pg2.finetuning import read_rows, split_rows
from keras_pg2.finetuning.data_files import find_format, fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 10]}],
}
QUESTIONS = {
    "data_subtype": "train2014",
    "questions": [{"question_id": 1, "image_id": 9, "question": "what?"}],
}
ANSWERS = {
    "annotations": [
        {
            "question_id": 1,
            "image_id": 9,
            "answer_type": "other",
            "answers": [{"answer": "cat"}],
        }
    ]
}


def test_every_format_is_found_out(folder: Path):
    line = json.dumps({"image": "a.png", "prefix": "caption en", "suffix": "a cat"})
    jsonl = write(folder / "rows.jsonl", line)
    expected = {
        "images": str(folder / "a.png"),
        "prompts": "caption en",
        "responses": "a cat",
    }
    assert list(read_rows(jsonl)) == [expected]
    table = write(folder / "t.tsv", "image\tprefix\tsuffix\na.png\tcaption en\ta cat")
    assert list(read_rows(table)) == [expected]
    coco = write(folder / "coco.json", COCO)
    [row] = read_rows(coco)
    # 10 of 20 pixels are the middle: round(0.5 * 1023) = 512.
    assert row["prompts"] == "detect cat"
    assert row["responses"] == "<loc0000><loc0000><loc0512><loc0512> cat"
    questions = write(folder / "v2_OpenEnded_train_questions.json", QUESTIONS)
    write(folder / "v2_train_annotations.json", ANSWERS)
    (folder / "a.png").rename(folder / "COCO_train2014_000000000009.jpg")
    [row] = read_rows(questions, prompt="say {question}")
    assert (row["prompts"], row["responses"]) == ("say what?", "cat")


def test_rows_without_prompts_take_the_given_one(folder: Path):
    line = {"image": "a.png", "suffix": "a cat"}
    path = write(folder / "rows.jsonl", line)
    [row] = read_rows(path, prompt="caption en")
    assert row["prompts"] == "caption en"
    write(path, {**line, "prefix": "ocr"})
    [row] = read_rows(path, prompt="caption en")
    assert row["prompts"] == "ocr"


def test_files_that_tell_nothing(folder: Path):
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        read_rows(folder / "missing.jsonl")
    with pytest.raises(ValueError, match="Pass its format"):
        find_format(write(folder / "rows.txt", "?"))
    with pytest.raises(ValueError, match="Pass its format"):
        find_format(write(folder / "rows.json", {"rows": []}))
    with pytest.raises(ValueError, match="format of jsonl"):
        read_rows(folder / "rows.json", format="parquet")
    with pytest.raises(FileNotFoundError, match="file of annotations"):
        read_rows(write(folder / "questions.json", QUESTIONS))


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


def test_a_fingerprint_is_of_what_rows_say():
    rows = rows_of(["x/a.png", "x/b.png"])
    assert fingerprint(rows) == fingerprint(rows_of(["y/a.png", "y/b.png"]))
    others = [
        rows_of(["x/a.png", "x/c.png"]),
        rows_of(["x/a.png", "x/b.png"], "y"),
        rows_of(["x/a.png"]),
        rows_of(["x/b.png", "x/a.png"]),
    ]
    prints = {fingerprint(each) for each in [rows, *others]}
    assert len(prints) == 5
    pixels = [np.full((2, 2, 3), value, np.uint8) for value in (0, 1)]
    arrays = [[{**rows[0], "images": image}] for image in pixels]
    assert fingerprint(arrays[0]) != fingerprint(arrays[1])
