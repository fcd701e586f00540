"""One drawn data set in eight layouts: read, checked, trained on, written back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.codecs import (
    AnnotatedPicture,
    parse_detections,
    to_coco_dataset,
    to_labelme,
    to_yolo,
    write_json,
    write_text,
)
from keras_pg2.datasets import (
    RowBatches,
    read_coco,
    read_jsonl,
    read_labelme,
    read_records,
    read_table,
    read_yolo,
    write_jsonl,
    write_table,
)
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.detection_rows import annotation_rows
from keras_pg2.datasets.rows import Rows, check_pictures
from keras_pg2.finetuning import read_rows
from tests.support import drawn_layouts as drawn
from tests.support.tiny_models import random_task


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    model = random_task()
    model.compile(optimizer="sgd")
    return model


@pytest.fixture
def train(model: PaliGemma2CausalLM) -> Callable[[Rows], None]:
    """Check pictures and train two steps of two rows."""

    def train(rows: Rows) -> None:
        checked = check_pictures(rows)
        assert list(checked) == list(rows)
        before = [np.array(v) for v in model.trainable_variables[:3]]
        batches = RowBatches(checked, 2, seed=1)
        found = model.fit(batches, steps_per_epoch=2, epochs=1, verbose=0)
        assert np.isfinite(found.history["loss"]).all()
        after = [np.array(v) for v in model.trainable_variables[:3]]
        assert any((a != b).any() for a, b in zip(after, before))

    return train


def names(coco: CocoFile) -> dict[object, str]:
    """Return the names of pictures by their ids."""
    return {image.id: Path(image.file_name).name for image in coco.images.values()}


def assert_truth(coco: CocoFile) -> None:
    """Check that a file says what was drawn."""
    assert sorted(names(coco).values()) == sorted(drawn.SIZES)
    for image_id, name in names(coco).items():
        image, found = coco.images[image_id], coco.truths(image_id)
        assert (image.width, image.height) == drawn.SIZES[name]
        truth = [(label, list(map(float, box))) for label, box in drawn.TRUTH[name]]
        assert list(zip(found.labels, found.boxes_xyxy.tolist())) == truth
    assert coco.skipped == ()


def assert_rows_of_truth(rows: Rows) -> None:
    """Check that rows ask for all labels, or some, and answer what was drawn."""
    assert len(rows) == 3
    for row in rows:
        name = Path(row["images"]).name
        asked = row["prompts"].removeprefix("detect ").split(" ; ")
        found = parse_detections(row["responses"], *drawn.SIZES[name])
        answers = drawn.ANSWERS[name].split(" ; ") if drawn.ANSWERS[name] else []
        assert sorted(row["responses"].split(" ; ")) == (sorted(answers) or [""])
        assert set(found.labels) <= set(asked) <= set(drawn.LABELS)
    asked_of_nothing = next(row for row in rows if not row["responses"])
    assert Path(asked_of_nothing["images"]).name == "c.png"


def pictures_of(coco: CocoFile) -> list[AnnotatedPicture]:
    return [
        AnnotatedPicture(
            names(coco)[image.id], image.width, image.height, coco.truths(image.id)
        )
        for image in coco.images.values()
    ]


@pytest.mark.parametrize("write", [drawn.write_roboflow_coco, drawn.write_coco])
def test_coco(tmp_path: Path, train: Callable, write: Callable):
    path = write(tmp_path)
    folder = tmp_path / "train2017"
    folder = folder if folder.is_dir() else tmp_path
    coco = read_coco(path)
    assert_truth(coco)
    rows = read_rows(path, folder, absent_share=1.0)
    assert_rows_of_truth(rows)
    train(rows)
    write_json(to_coco_dataset(pictures_of(coco)), tmp_path / "again.json")
    again = read_coco(tmp_path / "again.json")
    assert_truth(again)
    boxes = annotation_rows(coco, folder, absent_share=0.0)
    assert list(annotation_rows(again, folder, absent_share=0.0)) == list(boxes)


def test_masks_of_coco(tmp_path: Path):
    path = drawn.write_coco(tmp_path)
    seen = []

    def encode_mask(mask: np.ndarray, box_xyxy: np.ndarray) -> str:
        seen.append(int(mask.sum()))
        return "".join(f"<seg{i:03d}>" for i in range(16))

    rows = read_rows(
        path,
        tmp_path / "train2017",
        format="coco-masks",
        encode_mask=lambda: encode_mask,
        absent_share=1.0,
    )
    assert sorted(seen) == [16 * 16, 32 * 24, 20 * 40]
    assert all(row["prompts"].startswith("segment ") for row in rows)
    assert sum(not row["responses"] for row in rows) == 1
    # A region of many dogs is in the second picture, so dogs are not asked for there.
    second = next(row for row in rows if row["images"].endswith("b.png"))
    assert second["prompts"] == "segment cat"


def test_yolo(tmp_path: Path, train: Callable):
    path = drawn.write_yolo(tmp_path)
    coco = read_yolo(path)
    assert_truth(coco)
    assert list(coco.labels.values()) == ["cat", "dog"]
    for data in (path, tmp_path):
        rows = read_rows(data, absent_share=1.0)
        assert_rows_of_truth(rows)
    train(rows)
    labels = tmp_path / "train" / "labels"
    before = {p.name: _numbers(p.read_text()) for p in labels.iterdir()}
    for picture in pictures_of(coco):
        size = (picture.width, picture.height)
        text = to_yolo(picture.detections, ["cat", "dog"], *size)
        write_text(text, (labels / picture.file_name).with_suffix(".txt"))
    assert {p.name: _numbers(p.read_text()) for p in labels.iterdir()} == before
    assert list(read_rows(path, absent_share=1.0)) == list(rows)


def _numbers(text: str) -> list[list[float]]:
    return [[float(word) for word in line.split()] for line in text.splitlines()]


def test_labelme(tmp_path: Path, train: Callable):
    folder = drawn.write_labelme(tmp_path)
    coco = read_labelme(folder)
    assert_truth(coco)
    rows = read_rows(folder, absent_share=1.0)
    assert_rows_of_truth(rows)
    train(rows)
    for picture in pictures_of(coco):
        size = (picture.width, picture.height)
        path = (folder / picture.file_name).with_suffix(".json")
        write_json(to_labelme(picture.detections, picture.file_name, *size), path)
    assert_truth(read_labelme(folder))
    assert list(read_rows(folder, absent_share=1.0)) == list(rows)


def test_roboflow_jsonl(tmp_path: Path, train: Callable):
    path = drawn.write_roboflow_jsonl(tmp_path)
    rows = read_rows(path)
    assert list(rows) == [
        {
            "images": str(tmp_path / name),
            "prompts": "detect cat ; dog",
            "responses": drawn.ANSWERS[name],
        }
        for name in drawn.SIZES
    ]
    [note] = rows.notes
    assert note.startswith("Rows with an empty answer")
    assert note.endswith(": 1 of 3.")
    train(rows)
    write_jsonl(rows, tmp_path / "again.jsonl")
    given = [json.loads(line) for line in path.read_text().splitlines()]
    again = (tmp_path / "again.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in again] == given
    assert list(read_jsonl(tmp_path / "again.jsonl")) == list(rows)


def test_vqa(tmp_path: Path, train: Callable):
    path = drawn.write_vqa(tmp_path)
    rows = read_rows(path)
    assert [(row["prompts"], row["responses"]) for row in rows] == [
        (f"answer en {drawn.QUESTION}", word) for word in drawn.WORDS.values()
    ]
    train(rows)
    write_jsonl(rows, tmp_path / "again.jsonl")
    assert list(read_jsonl(tmp_path / "again.jsonl")) == list(rows)


def test_excel(tmp_path: Path, train: Callable):
    drawn.write_excel_csv(tmp_path)
    rows = read_rows(tmp_path)
    assert [tuple(row.values()) for row in rows] == [
        (str(tmp_path / name), f"answer en {drawn.QUESTION}", drawn.WORDS[name])
        for name in drawn.SIZES
    ]
    train(rows)
    for name in ("again.csv", "again.tsv"):
        write_table(rows, tmp_path / name)
        assert list(read_table(tmp_path / name)) == list(rows)


def test_records_of_datasets(tmp_path: Path, train: Callable):
    records = drawn.dataset_records(tmp_path)
    rows = read_records(records)
    assert [row["responses"] for row in rows] == list(drawn.WORDS.values())
    for row, name in zip(rows, drawn.SIZES, strict=True):
        shown = np.array(row["images"].convert("RGB"))
        np.testing.assert_array_equal(shown, drawn.pixels(tmp_path / name))
    train(rows)
    with pytest.raises(ValueError, match="Save the pictures first"):
        write_jsonl(rows, tmp_path / "again.jsonl")
    # As pandas or pyarrow give tables with paths.
    paths = [{**r, "image": r["image"]["path"]} for r in records]
    again = read_records(paths, tmp_path)
    write_jsonl(again, tmp_path / "again.jsonl")
    assert list(read_jsonl(tmp_path / "again.jsonl")) == list(again)
    records[1]["image"]["bytes"] = records[1]["image"]["bytes"][:40]
    with pytest.raises(ValueError, match=r"Record 1: .*'image' that Pillow can read"):
        read_records(records)
    assert len(read_records(records, on_bad="skip")) == 2


def test_an_answer_of_nothing_trains_its_end_token(
    tmp_path: Path, model: PaliGemma2CausalLM
):
    drawn.draw_pictures(tmp_path)
    row = {"images": str(tmp_path / "c.png"), "prompts": "detect cat", "responses": ""}
    x, y, weights = model.preprocessor({key: [value] for key, value in row.items()})
    [place] = np.flatnonzero(np.array(weights)[0])
    end = model.preprocessor.tokenizer.end_token_id
    assert np.array(y)[0, place] == end
    logits = ops.convert_to_numpy(model(x)).astype(np.float64)[0, place]
    expected = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[end]
    found = model.evaluate(RowBatches([row], 1, shuffle=False), verbose=0)
    loss = found[0] if isinstance(found, list) else found
    assert loss == pytest.approx(expected, rel=1e-4)
