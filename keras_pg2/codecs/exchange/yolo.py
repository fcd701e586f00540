"""Detections to the label files of YOLO and back, one text per picture.

A line is `class cx cy w h` (a box) or `class x1 y1 x2 y2 ...` (a polygon), in parts of
the picture's width and height, with the score after it in predictions.
Source: docs.ultralytics.com/datasets/detect and /segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.annotations import check_mask_size
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import fill_scores, id_of, name_of, positions
from keras_pg2.codecs.exchange.polygons import (
    Canvas,
    joined,
    paint_polygon,
    pixel_polygons,
)

_OVERHANG = 0.01
"""How far coordinates may be outside, as Ultralytics' own check has it."""


def to_yolo(
    detections: Detections,
    names: Sequence[str],
    width: int,
    height: int,
    with_scores: bool = False,
) -> str:
    """The text of a label file; "" when there is nothing.

    With masks each instance is one polygon: several parts are joined by seams, as
    Ultralytics' own converter does, and holes are filled. An instance without a mask
    becomes the four corners of its box there, for a file has one kind of lines.

    Args:
        detections: of the picture. Boxes are cut at its border.
        names: a label's class is its place in this list, that of `data.yaml`.
        width: of the picture in pixels, upright.
        height: likewise.
        with_scores: writes the scores, as predictions have them; training files have
            none.

    Raises:
        ImportError: when there are masks and supervision is not installed.
        ValueError: when a label is not in `names`, a name is there twice, scores are
            wanted where there are none, or masks are of another size.
    """
    masks, scores = detections.masks, detections.scores
    if masks is not None and masks.shape[1:] != (height, width):
        raise ValueError(
            f"Expected masks of {width} x {height} pixels (width x height), received "
            f"{masks.shape[2]} x {masks.shape[1]}."
        )
    if with_scores and scores is None:
        raise ValueError(
            "Expected detections with scores, received some without. Leave with_scores "
            "out."
        )
    ids = positions(names)
    size = np.array([width, height], np.float64)
    lines = []
    for i, label in enumerate(detections.labels):
        corners = detections.boxes_xyxy[i].astype(np.float64).reshape(2, 2)
        corners = corners.clip(0, size) / size
        if masks is None:
            values = np.concatenate([corners.mean(axis=0), corners[1] - corners[0]])
        elif masks[i].any():
            values = (joined(pixel_polygons(masks[i])) / size).reshape(-1)
        else:
            (x1, y1), (x2, y2) = corners
            values = np.array([x1, y1, x2, y1, x2, y2, x1, y2])
        words = [str(id_of(label, ids)), *(_number(v) for v in values)]
        if with_scores and scores is not None:
            words.append(_number(scores[i]))
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def from_yolo(
    text: str,
    names: Sequence[str],
    width: int,
    height: int,
    with_masks: bool = True,
) -> Detections:
    """Detections of a label file's text.

    The box of a polygon is what it covers. Boxes and polygons are cut at the border of
    the picture. A number more than a line needs is its score.

    Args:
        text: any number of lines; a byte order mark before them is passed over.
        names: of the classes, as in `data.yaml`.
        width: of the picture in pixels, upright.
        height: likewise.
        with_masks: False gives boxes alone, which takes little memory.

    Returns:
        Masks where there is a polygon, all False for boxes.

    Raises:
        ValueError: when a line has words that are no numbers or too few of them,
            coordinates outside the picture, or a class has no name, or polygons are
            too many to draw.
    """
    positions(names)
    size = np.array([width, height], np.float64)
    lines = filter(None, map(str.strip, text.removeprefix("\ufeff").splitlines()))
    things = [_read_line(line) for line in lines]
    has_masks = with_masks and any(len(values) > 4 for _, values, _ in things)
    if has_masks:
        check_mask_size(width, height, len(things))
    canvas = Canvas(width, height)
    labels, boxes, masks, scores = [], [], [], []
    for class_id, values, score in things:
        points = values.reshape(-1, 2) * size
        outline = points
        if len(points) == 2:
            center, extent = points
            points = np.array([center - extent / 2, center + extent / 2])
            outline = points[:0]
        found = canvas.cut_out(outline, partial(paint_polygon, polygon=outline))
        labels.append(name_of(class_id, names))
        boxes.append(found.box(points))
        if has_masks:
            masks.append(found.whole())
        scores.append(score)
    return Detections(
        labels=tuple(labels),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=np.stack(masks) if has_masks else None,
        scores=fill_scores(scores),
    )


def _number(value: float) -> str:
    """Nine digits, a thousandth of a pixel in any picture, without zeros at the end."""
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _read_line(line: str) -> tuple[int, np.ndarray, float | None]:
    """Class, an even number of at least 4 coordinates, and the score or None."""
    try:
        first, *values = (float(word) for word in line.split())
    except ValueError as error:
        raise ValueError(
            f"Expected numbers in a line of a YOLO label file, received {shown(line)}."
        ) from error
    if len(values) < 4 or not first.is_integer() or not np.isfinite(values).all():
        raise ValueError(
            "Expected a class, and a box of four numbers or a polygon of six or more, "
            f"in a line of a YOLO label file. Received: {shown(line)}."
        )
    score = values.pop() if len(values) % 2 else None
    if not all(-_OVERHANG <= value <= 1 + _OVERHANG for value in values):
        raise ValueError(
            "Expected coordinates in [0, 1], as parts of the picture's width and "
            f"height, in a line of a YOLO label file. Received: {shown(line)}. Divide "
            "pixels by the width and height."
        )
    return int(first), np.array(values), score
