"""COCO records, read back and by pycocotools and supervision."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from pycocotools.coco import COCO

from keras_pg2.codecs import (
    AnnotatedPicture,
    Detections,
    from_coco_dataset,
    from_coco_results,
    from_supervision,
    to_coco_annotations,
    to_coco_dataset,
    to_coco_results,
    write_json,
)
from tests.support.exchange_cases import (
    BY_ID,
    HEIGHT,
    IDS,
    WIDTH,
    assert_same,
    boxes_only,
    filled,
    instances,
    masks_of_one,
    sv,
    two,
)


@given(instances())
@settings(max_examples=40, deadline=None)
def test_round_trip_of_results(found):
    records = json.loads(json.dumps(to_coco_results(found, 7, IDS)))
    again = from_coco_results(records, BY_ID, WIDTH, HEIGHT)
    assert again.labels == found.labels
    np.testing.assert_array_equal(again.boxes_xyxy, found.boxes_xyxy)
    if len(found):
        expected = np.ones(len(found)) if found.scores is None else found.scores
        np.testing.assert_array_equal(again.scores, expected)
    if found.masks is not None and len(found):
        np.testing.assert_array_equal(again.masks, found.masks)
    else:
        assert again.masks is None


@given(instances())
@settings(max_examples=30, deadline=None)
def test_round_trip_of_a_dataset(found):
    pictures = [
        AnnotatedPicture("a.png", WIDTH, HEIGHT, found),
        AnnotatedPicture("b.png", WIDTH, HEIGHT, boxes_only(two())),
    ]
    dataset = json.loads(json.dumps(to_coco_dataset(pictures)))
    first, second = from_coco_dataset(dataset)
    assert (first.file_name, first.width, first.height) == ("a.png", WIDTH, HEIGHT)
    assert_same(second.detections, boxes_only(two()))
    has_masks = found.masks is not None and found.masks.any()
    expected = Detections(
        found.labels,
        found.boxes_xyxy,
        found.masks if has_masks else None,
        found.scores if len(found) else None,
    )
    assert_same(first.detections, expected)


def test_records_by_hand():
    first, second = to_coco_results(two(), 7, IDS)
    assert first["bbox"] == [3.0, 2.0, 10.0, 6.0]
    assert (first["image_id"], first["category_id"], first["score"]) == (7, 3, 0.75)
    assert second["category_id"] == 1
    first, second = to_coco_annotations(two(), 7, IDS, first_id=5)
    assert (first["id"], first["area"], first["iscrowd"]) == (5, 60.0, 0)
    assert (second["id"], second["area"], second["segmentation"]) == (6, 144.0, [])
    assert to_coco_results(boxes_only(two()), 7, IDS)[0]["score"] == 1.0


def test_pycocotools_reads_results(tmp_path, capsys):
    picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, boxes_only(two()))
    write_json(to_coco_dataset([picture], IDS), tmp_path / "truth.json")
    truth = COCO(tmp_path / "truth.json")
    write_json(to_coco_results(two(), 1, IDS), tmp_path / "results.json")
    results = truth.loadRes(str(tmp_path / "results.json"))
    records = results.loadAnns(results.getAnnIds(imgIds=1))
    assert [r["bbox"] for r in records] == [[3, 2, 10, 6], [12, 4, 12, 12]]
    read = np.stack([results.annToMask(r) for r in records])
    np.testing.assert_array_equal(read, two().masks)
    names = [c["name"] for c in truth.loadCats([r["category_id"] for r in records])]
    assert names == ["cat", "dog"]


@pytest.mark.parametrize("polygons", [False, True])
def test_readers_of_datasets(tmp_path, capsys, polygons):
    picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
    content = to_coco_dataset([picture], polygons=polygons)
    write_json(content, tmp_path / "instances.json")
    coco = COCO(tmp_path / "instances.json")
    mask = coco.annToMask(coco.loadAnns(1)[0])
    np.testing.assert_array_equal(mask, two().masks[0])
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    dataset = sv.DetectionDataset.from_coco(
        str(tmp_path), str(tmp_path / "instances.json")
    )
    _, _, value = next(iter(dataset))
    again = from_supervision(value, dataset.classes)
    assert again.labels == ("cat", "dog")
    np.testing.assert_array_equal(again.boxes_xyxy, two().boxes_xyxy)
    if not polygons:
        np.testing.assert_array_equal(again.masks, two().masks)


@given(masks_of_one)
@settings(max_examples=60, deadline=None)
def test_edge_polygons_keep_all_but_holes(mask):
    found = Detections(("cat",), np.zeros((1, 4), np.float32), mask[None])
    records = to_coco_annotations(found, 1, IDS, polygons=True)
    again = from_coco_results(records, BY_ID, WIDTH, HEIGHT)
    read = np.zeros_like(mask) if again.masks is None else again.masks[0]
    np.testing.assert_array_equal(read, filled(mask))


def test_uncompressed_rle():
    rle = {"size": [2, 3], "counts": [1, 2, 3]}  # Column by column.
    record = {"category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": rle}
    again = from_coco_results([record], BY_ID, 3, 2)
    assert again.masks.tolist() == [[[False, True, False], [True, False, False]]]
    with pytest.raises(ValueError, match=r"size \[2, 4\], .* received \[2, 3\]"):
        from_coco_results([record], BY_ID, 4, 2)


def test_results_without_boxes():
    record, no_mask = to_coco_results(two(), 1, IDS)
    del record["bbox"], no_mask["bbox"]
    again = from_coco_results([record], BY_ID, WIDTH, HEIGHT)
    assert again.boxes_xyxy.tolist() == [[3, 2, 13, 8]]
    with pytest.raises(ValueError, match="Expected a bbox or a segmentation"):
        from_coco_results([no_mask], BY_ID, WIDTH, HEIGHT)


def test_crowds_are_left_out():
    picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
    dataset = to_coco_dataset([picture])
    dataset["annotations"][0]["iscrowd"] = 1
    assert from_coco_dataset(dataset)[0].detections.labels == ("dog",)


def test_errors():
    with pytest.raises(ValueError, match="received the label 'dog'"):
        to_coco_results(two(), 1, {"cat": 1})
    with pytest.raises(ValueError, match="received the class 3"):
        from_coco_results(to_coco_results(two(), 1, IDS), {1: "dog"}, 24, 16)
    with pytest.raises(ValueError, match="first_id"):
        to_coco_annotations(two(), 1, IDS, first_id=0)
    records = to_coco_results(two(), 1, IDS)
    records[1]["image_id"] = 2
    with pytest.raises(ValueError, match="one image_id at a time"):
        from_coco_results(records, BY_ID, WIDTH, HEIGHT)
    records = to_coco_results(two(), 1, IDS)
    del records[0]["category_id"]
    with pytest.raises(ValueError, match="Expected 'category_id'"):
        from_coco_results(records, BY_ID, WIDTH, HEIGHT)
    records = to_coco_results(two(), 1, IDS)
    short = {"counts": [5, 5], "size": [HEIGHT, WIDTH]}
    for wrong in ([[1, 2, 3, 4]], [1, 2, 3, 4, 5, 6], short):
        records[0]["segmentation"] = wrong
        with pytest.raises(ValueError, match="Expected"):
            from_coco_results(records, BY_ID, WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="Missing: annotations, categories, images"):
        from_coco_dataset({})
    picture = AnnotatedPicture("a.png", WIDTH, HEIGHT, two())
    with pytest.raises(ValueError, match=r"file names, received 'a.png' twice"):
        to_coco_dataset([picture, picture])
    with pytest.raises(ValueError, match="category ids, received 1 twice"):
        to_coco_dataset([picture], {"cat": 1, "dog": 1})
