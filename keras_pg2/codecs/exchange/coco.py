"""Detections to COCO's records of results and of annotations, and back.

Format: https://cocodataset.org/#format-results and #format-data. A box is x, y, width,
height in pixels of the picture; a mask is run-length encoded (RLE), as pycocotools
writes it, or a list of polygons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.annotations import (
    as_floats,
    check_mask_size,
    mask_from_coco,
    mask_to_rle,
)
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import fill_scores, id_of, name_of
from keras_pg2.codecs.exchange.polygons import box_around, edge_polygons

_LARGEST = 1e9
"""Bound of a coordinate, as in the reader of annotation files."""


def to_coco_results(
    detections: Detections, image_id: int, category_ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Records of one picture for `COCO.loadRes` and `COCOeval`.

    Join those of many pictures to one list. Where there are no scores each is 1.0,
    because `COCOeval` wants one.

    Args:
        detections: of the picture.
        image_id: its number in the data set.
        category_ids: the number of each label.

    Returns:
        N dictionaries of `image_id, category_id, bbox, score`, and with masks
        `segmentation` as RLE.

    Raises:
        ImportError: when there are masks and pycocotools is not installed.
        ValueError: when `category_ids` lacks a label.
    """
    scores = (
        np.ones(len(detections)) if detections.scores is None else detections.scores
    )
    records = _records(detections, image_id, category_ids)
    for i, record in enumerate(records):
        record["score"] = float(scores[i])
        if detections.masks is not None:
            record["segmentation"] = mask_to_rle(detections.masks[i])
    return records


def to_coco_annotations(
    detections: Detections,
    image_id: int,
    category_ids: Mapping[str, int],
    first_id: int = 1,
    polygons: bool = False,
) -> list[dict[str, Any]]:
    """Annotations of one picture, to be corrected and trained on.

    Args:
        detections: of the picture.
        image_id: its number in the data set.
        category_ids: the number of each label.
        first_id: of the annotations, which count on from it. pycocotools takes 0 for
            none, so it is at least 1.
        polygons: masks as polygons, for tools that cannot edit RLE: several parts
            stay, holes are filled.

    Returns:
        N dictionaries of `id, image_id, category_id, bbox, area, iscrowd, segmentation`
        (an empty list for an instance without a mask), and `score` where there are
        scores, which readers pass over. The area is the mask's, else the box's.

    Raises:
        ImportError: when there are masks, and pycocotools (or supervision, for
            polygons) is not installed.
        ValueError: when `category_ids` lacks a label, or `first_id` is below 1.
    """
    if first_id < 1:
        raise ValueError(f"Expected first_id to be at least 1, received {first_id}.")
    records = _records(detections, image_id, category_ids)
    for i, record in enumerate(records):
        mask = None if detections.masks is None else detections.masks[i]
        record["id"] = first_id + i
        record["iscrowd"] = 0
        record["area"] = record["bbox"][2] * record["bbox"][3]
        record["segmentation"] = []
        if mask is not None and mask.any():
            record["area"] = float(mask.sum())
            record["segmentation"] = (
                _to_polygons(mask) if polygons else mask_to_rle(mask)
            )
        if detections.scores is not None:
            record["score"] = float(detections.scores[i])
    return records


def from_coco_results(
    records: Sequence[Mapping[str, Any]],
    names_by_category_id: Mapping[Any, str],
    width: int,
    height: int,
) -> Detections:
    """Detections of one picture's results or annotations.

    Args:
        records: of one picture: `category_id`, `bbox`, and where there are some
            `score` and `segmentation` (RLE of either kind, or polygons). Results of
            masks are often without `bbox`, which is then what the mask covers.
        names_by_category_id: the label of each number.
        width: of the picture in pixels.
        height: likewise.

    Returns:
        Masks where one record has a segmentation, all False for those without.

    Raises:
        ImportError: when there are segmentations and pycocotools is not installed.
        ValueError: when records are of several pictures, a category has no name, a
            record has neither box nor mask, a number is out of range, or a mask is
            invalid or of another size.
    """
    for i, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise ValueError(
                f"Expected record {i} as an object, received {shown(record)}."
            )
    if any(r.get("image_id") != records[0].get("image_id") for r in records):
        raise ValueError(
            "Expected the records of one picture, received those of several. Pass the "
            "records of one image_id at a time."
        )
    shapes = [record.get("segmentation") for record in records]
    masks = None
    if any(shapes):
        width, height = check_mask_size(width, height, len(shapes))
        masks = np.stack([_to_mask(shape, width, height) for shape in shapes])
    boxes = [
        _to_box(record, None if masks is None else masks[i])
        for i, record in enumerate(records)
    ]
    return Detections(
        labels=tuple(
            name_of(_category_id(record), names_by_category_id) for record in records
        ),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=masks,
        scores=fill_scores([_score(record) for record in records]),
    )


def _records(
    detections: Detections, image_id: int, category_ids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What results and annotations share."""
    # In float64, so that x + width is x2 again to the last digit.
    boxes = detections.boxes_xyxy.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return [
        {"image_id": image_id, "category_id": id_of(label, category_ids), "bbox": box}
        for label, box in zip(detections.labels, boxes.tolist())
    ]


def _to_polygons(mask: np.ndarray) -> list[list[float]]:
    return [polygon.reshape(-1).tolist() for polygon in edge_polygons(mask)]


def _to_box(record: Mapping[str, Any], mask: np.ndarray | None) -> list[float]:
    """x1, y1, x2, y2 of a record's box, or else of its mask."""
    given = record.get("bbox")
    if given:
        try:
            box = as_floats(given)
        except ValueError:
            box = np.zeros(0)
        if box.shape != (4,) or not np.abs(box).max() < _LARGEST:
            raise ValueError(
                "Expected bbox as four finite numbers x, y, width, height, received "
                f"{shown(given)}."
            )
        x, y, box_width, box_height = box.tolist()
        return [x, y, x + box_width, y + box_height]
    if mask is None or not mask.any():
        raise ValueError(
            "Expected a bbox or a segmentation in every record, received "
            f"{shown(dict(record))}."
        )
    return box_around(mask)


def _to_mask(
    shape: Sequence[Sequence[float]] | Mapping[str, Any] | None, width: int, height: int
) -> np.ndarray:
    """bool[height, width] of an RLE, of polygons or of nothing."""
    if not shape:
        return np.zeros((height, width), bool)
    return mask_from_coco(shape, width, height)


def _category_id(record: Mapping[str, Any]) -> int | str:
    if "category_id" not in record:
        raise ValueError(
            f"Expected 'category_id' in every record, received {shown(dict(record))}."
        )
    found = record["category_id"]
    if isinstance(found, bool) or not isinstance(found, Integral | str):
        raise ValueError(f"Expected category_id as a number, received {shown(found)}.")
    return found  # type: ignore[return-value]


def _score(record: Mapping[str, Any]) -> float | None:
    found = record.get("score")
    if found is None:
        return None
    is_number = isinstance(found, Real) and not isinstance(found, bool)
    if not is_number or not 0 <= found <= 1:
        raise ValueError(f"Expected a score in [0, 1], received {shown(found)}.")
    return float(found)
