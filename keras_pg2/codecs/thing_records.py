"""Things found in a picture as JSON has them: label, box, score, mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_pg2.codecs.annotations import (
    check_mask_size,
    mask_from_coco,
    mask_to_counts,
)
from keras_pg2.codecs.detections import Detections
from keras_pg2.files.json_fields import Fields


def things_record(found: Detections) -> list[dict[str, Any]]:
    """Return things found as JSON has them; see `tasks.answering.thing_predictions`."""
    things = []
    for i, label in enumerate(found.labels):
        thing: dict[str, Any] = {
            "label": label,
            "box": [round(float(side), 4) for side in found.boxes_xyxy[i]],
        }
        if found.scores is not None:
            thing["score"] = round(float(found.scores[i]), 6)
        if found.masks is not None:
            thing["mask"] = mask_to_counts(found.masks[i])
        things.append(thing)
    return things


def read_things(fields: Fields, name: str) -> Detections:
    """Return the things that a field lists; as `things_record` has them.

    Raises:
        ValueError: if an entry is none of these.
    """
    things = fields.items(name, Fields.fields)
    labels, boxes, scores = [], [], []
    masks: list[np.ndarray | None] = []
    for thing in things:
        labels.append(thing.text("label"))
        box = thing.items("box", lambda f, i: f.number(i, at_least=-1e9, at_most=1e9))
        if len(box) != 4 or not (box[0] <= box[2] and box[1] <= box[3]):
            raise thing.error("box", "x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
        boxes.append(box)
        scores.append(thing.number("score", None, at_least=0, at_most=1))
        mask = thing.fields("mask", None)
        masks.append(None if mask is None else _read_mask(mask, len(things)))
    for values, key in ((scores, "score"), (masks, "mask")):
        if len({value is None for value in values}) > 1:
            raise fields.error(name, f"things that all have {key}, or none of them")
    has_scores = bool(scores) and scores[0] is not None
    planes = [mask for mask in masks if mask is not None]
    return Detections(
        tuple(labels),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.stack(planes) if planes else None,
        np.array(scores, np.float32) if has_scores else None,
    )


def _read_mask(mask: Fields, count: int) -> np.ndarray:
    """Return bool[height, width], one of `count` masks of a picture."""
    size = mask.items("size", lambda f, i: f.integer(i, at_least=1))
    if len(size) != 2:
        raise mask.error("size", "height and width")
    height, width = size
    counts = mask.value("counts")
    try:
        check_mask_size(width, height, count)
        return mask_from_coco({"size": size, "counts": counts}, width, height)
    except ValueError as error:
        raise ValueError(f"{mask.source}: {error}") from error
