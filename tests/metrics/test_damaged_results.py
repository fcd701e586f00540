"""Files of COCO that are scored, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keras_pg2.metrics.coco_results import coco_file_average_precision
from tests.support.damaged_fields import damaged, loads, named

RUNS = {"size": [16, 24], "counts": [0, 16, 368]}
RECORD = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "score": 0.5}


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_files_that_are_scored(kind: str, tmp_path: Path) -> None:
    paths = instances, results = tmp_path / "instances.json", tmp_path / "results.json"
    item = {**RECORD, "id": 3, "segmentation": RUNS, "iscrowd": 0, "area": 16}
    truth = {
        "images": [{"id": 1, "width": 24, "height": 16}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [item],
    }
    found = [{**RECORD, "segmentation": RUNS}]
    instances.write_text(json.dumps(truth))
    results.write_text(json.dumps(found))
    assert coco_file_average_precision(*paths, kind=kind).ap50 > 0.99

    def read_truth(content: Any) -> Any:
        instances.write_text(json.dumps(content))
        return coco_file_average_precision(*paths, kind=kind)

    fields = [(name,) for name in truth]
    fields += [("images", 0, "id"), ("categories", 0, "id"), ("categories", 0, "name")]
    fields += [("annotations", 0), ("annotations", 0, "iscrowd")]
    fields += [("annotations", 0, "area"), ("annotations", 0, "image_id")]
    _, loaded = loads(read_truth, damaged(truth, fields), instances)
    assert loaded == {
        "annotations: list",
        "annotations.0: missing",
        *named("categories.0.name", ["text", "empty text"]),
        *named("annotations.0.iscrowd", ["missing", "true", "0"]),
        *named("annotations.0.area", ["missing", "0", "half"]),
    }
    instances.write_text(json.dumps(truth))

    def read_results(content: Any) -> Any:
        results.write_text(json.dumps(content))
        return coco_file_average_precision(*paths, kind=kind)

    shape = "bbox" if kind == "boxes" else "segmentation"
    fields = [(0,), *[(0, name) for name in ("image_id", "category_id", "score")]]
    fields += [
        (0, shape),
        *([(0, shape, 3)] if kind == "boxes" else [(0, shape, "size")]),
    ]
    _, loaded = loads(read_results, damaged(found, fields), results)
    numbers = ["below 0", "0", "half"]
    assert loaded == {
        "0: missing",
        *named("0.category_id", ["text", "empty text", "below 0", "0"]),
        *named("0.category_id", ["2**63", "4000 digits"]),
        *named("0.score", numbers),
        *(named("0.bbox.3", ["0", "half"]) if kind == "boxes" else ()),
    }
