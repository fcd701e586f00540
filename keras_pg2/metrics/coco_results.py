"""Average precision of a file of results against an annotation file of COCO.

Results are a list of `{"image_id", "category_id", "bbox" or "segmentation", "score"}`
(cocodataset.org/#format-results), as other tools write them. Boxes of the annotation
file are taken as they are, so that the numbers are those of the official evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.annotations import check_mask_size, mask_from_coco, mask_to_rle
from keras_pg2.codecs.exchange.class_ids import read_id
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import load_json
from keras_pg2.metrics.detection import AveragePrecision, Kind, evaluate_entries


def coco_file_average_precision(
    annotations: str | Path, results: str | Path, kind: Kind = "boxes"
) -> AveragePrecision:
    """Scores a JSON file of results; every picture of the annotations counts.

    Args:
        annotations: an instance file, `instances_*.json`.
        results: the list of results, of which "bbox" or "segmentation" is read.
        kind: compare boxes or masks. Small and large are told by the "area" of the
            annotations.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a file is none of these or an entry is incomplete or of an
            unknown picture; names the file and the entry.
        ImportError: when pycocotools is not installed.
    """
    if kind not in ("boxes", "masks"):
        raise ValueError(f"Expected kind 'boxes' or 'masks', received {kind!r}.")
    annotations, results = Path(annotations), Path(results)
    content = load_json(annotations)
    if not isinstance(content, dict):
        raise ValueError(
            f"Expected a COCO instance file in {annotations}. Received: "
            f"{type(content).__name__}."
        )
    fields = Fields(content, annotations)
    sizes = {
        read_id(image, "id"): (
            i,
            image.value("width", None),
            image.value("height", None),
        )
        for i, image in enumerate(fields.items("images", Fields.fields))
    }
    labels = {
        read_id(category, "id"): category.text("name")
        for category in fields.items("categories", Fields.fields)
    }
    fields.items("annotations", Fields.fields)
    truths = []
    for i, entry in enumerate(content["annotations"]):
        name = f"{annotations}: annotation {_identity(entry, i)}"
        truth = _entry(entry, kind, sizes, name)
        truth["label"] = labels.get(entry["category_id"])
        if truth["label"] is None:
            raise ValueError(f"{name}: its category_id is unknown in this file.")
        crowd, area = entry.get("iscrowd", 0), entry.get("area", truth["area"])
        if crowd not in (0, 1):
            raise ValueError(
                f"{name}: expected iscrowd 0 or 1, received {shown(crowd)}."
            )
        if not _is_number(area) or not 0 <= area < 1e18:
            raise ValueError(
                f"{name}: expected an area in pixels, received {shown(area)}."
            )
        truth["iscrowd"], truth["area"] = int(crowd), area
        truths.append(truth)
    predictions = []
    for i, entry in enumerate(_read_list(results)):
        name = f"{results}: result {i}"
        prediction = _entry(entry, kind, sizes, name)
        category = entry["category_id"]
        prediction["label"] = labels.get(category, f"category {category}")
        score = entry.get("score")
        if not _is_number(score) or not abs(score) < 1e9:
            raise ValueError(
                f"{name}: expected a finite score, received {shown(score)}."
            )
        prediction["score"] = score
        predictions.append(prediction)
    known = {truth["label"] for truth in truths}
    return evaluate_entries(predictions, truths, known, len(sizes), kind)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _identity(entry: object, index: int) -> str:
    if isinstance(entry, Mapping) and "id" in entry:
        return shown(entry["id"])
    return f"at position {index}"


def _read_list(path: Path) -> list[Any]:
    content = load_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f"Expected a list of results in {path}, received {type(content).__name__}."
        )
    return content


def _entry(
    entry: Any,
    kind: Kind,
    sizes: Mapping[int | str, tuple[int, Any, Any]],
    name: str,
) -> dict[str, Any]:
    """Picture, shape and area of an annotation or a result."""
    key = "bbox" if kind == "boxes" else "segmentation"
    for needed in ("image_id", "category_id", key):
        if not isinstance(entry, Mapping) or needed not in entry:
            raise ValueError(f"{name}: expected the key {needed!r}, which is missing.")
    for needed in ("image_id", "category_id"):
        found = entry[needed]
        if not isinstance(found, (int, str)) or isinstance(found, bool):
            raise ValueError(
                f"{name}: expected {needed} as int or str, received {shown(found)}."
            )
    if entry["image_id"] not in sizes:
        raise ValueError(
            f"{name}: image_id {shown(entry['image_id'])} is unknown in the "
            "annotations."
        )
    index, width, height = sizes[entry["image_id"]]
    if kind == "boxes":
        bbox = entry["bbox"]
        if (
            not isinstance(bbox, list)
            or len(bbox) != 4
            or not all(_is_number(v) and abs(v) < 1e9 for v in bbox)
            or min(bbox[2:]) < 0
        ):
            raise ValueError(
                f"{name}: expected bbox as x, y, width, height, received {shown(bbox)}."
            )
        return {"image_id": index, "bbox": bbox, "area": bbox[2] * bbox[3]}
    try:
        columns, rows = check_mask_size(width, height)
        mask = mask_from_coco(entry["segmentation"], columns, rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    runs = mask_to_rle(mask)
    return {"image_id": index, "segmentation": runs, "area": int(np.sum(mask))}
