"""Records and data sets of COCO in memory, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from keras_pg2.codecs import from_coco_dataset, from_coco_results
from tests.support.damaged_fields import DAMAGES, damaged, loads, named

RUNS = {"size": [16, 24], "counts": [0, 16, 368]}
RECORD = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "score": 0.5}


def test_results() -> None:
    def read(record: Any) -> Any:
        return from_coco_results([record], {7: "cat"}, 24, 16)

    content = {**RECORD, "segmentation": RUNS}
    assert read(content).masks.sum() == 16
    fields = [(name,) for name in content]
    fields += [("bbox", 2), ("segmentation", "size"), ("segmentation", "counts")]
    fields += [("segmentation", "size", 0), ("segmentation", "counts", 1)]
    count, loaded = loads(read, damaged(content, fields), "")
    assert count == len(DAMAGES) * 10
    nothing = ["missing", "null", "empty text", "0", "list", "object"]
    assert loaded == {
        *named("image_id", DAMAGES.keys() - {"NaN"}),
        *named("bbox", nothing),
        *named("bbox.2", ["below 0", "0", "half"]),
        *named("score", ["missing", "null", "0", "half"]),
        *named("segmentation", nothing),
    }
    for record in (None, [], 5, "x"):
        with pytest.raises(ValueError, match="record 0 as an object"):
            read(record)


def test_a_data_set() -> None:
    image = {"id": 1, "file_name": "a.png", "width": 24, "height": 16}
    content = {
        "images": [image],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [{**RECORD, "id": 3, "segmentation": RUNS}],
    }
    assert len(from_coco_dataset(content)[0].detections) == 1
    fields = [(name,) for name in content]
    fields += [(name, 0) for name in content]
    fields += [("images", 0, name) for name in image]
    fields += [("categories", 0, "id"), ("categories", 0, "name")]
    fields += [("annotations", 0, "image_id"), ("annotations", 0, "category_id")]
    count, loaded = loads(from_coco_dataset, damaged(content, fields), "")
    assert count == len(DAMAGES) * 14
    assert loaded == {
        "annotations: list",
        "annotations.0: missing",
        *named("images.0.file_name", ["text", "empty text"]),
        *named("categories.0.name", ["text", "empty text"]),
    }
    for dataset in (None, [], 5, "x"):
        with pytest.raises(ValueError, match="data set as an object"):
            from_coco_dataset(dataset)
    content["images"] *= 2
    with pytest.raises(ValueError, match="different image ids, received 1 twice"):
        from_coco_dataset(content)


def test_pictures_of_2_to_the_31_pixels_have_no_masks() -> None:
    polygon = {**RECORD, "segmentation": [[1, 2, 11, 2, 11, 12]]}
    for side in (2**31, 2**31 - 1, 2**20, 10**30, 0, -1, True, float("nan"), "9"):
        with pytest.raises(ValueError, match="picture"):
            from_coco_results([polygon], {7: "cat"}, side, side)
    runs = {"size": [2**13, 2**13], "counts": [2**26]}
    with pytest.raises(ValueError, match=r"at most 4\.3 GB, received 100 of"):
        from_coco_results([{**RECORD, "segmentation": runs}] * 100, {}, 2**13, 2**13)
