"""Detections to the JSON files of LabelMe 5 and back, one file per picture.

Format: labelme 5.5 `label_file.py` (keys of the file and of a shape) and
`utils/shape.py` (how shapes become masks).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import fill_scores
from keras_pg2.codecs.exchange.polygons import box_around, pixel_polygons, rasterize

VERSION = "5.5.0"
"""Of the format. LabelMe warns at another first number than its own."""


def to_labelme(
    detections: Detections,
    image_path: str,
    width: int,
    height: int,
    polygons: bool = True,
) -> dict[str, Any]:
    """The content of a LabelMe file, which `write_json` makes a file of.

    Args:
        detections: of the picture. An instance with a mask becomes a shape of its
            mask, another becomes a rectangle.
        image_path: the picture as seen from the JSON file's folder.
        width: of the picture in pixels, upright.
        height: likewise.
        polygons: masks as polygons, which can be edited corner by corner: the parts of
            one mask share a `group_id`, holes are filled. False writes shapes of the
            kind "mask", which keep all; LabelMe knows them since 5.2.

    Returns:
        The keys of LabelMe 5; each shape has the `score` too where there are scores,
        which LabelMe keeps.

    Raises:
        ImportError: when there are polygons to make and supervision is not installed.
        ValueError: when the masks are of another size.
    """
    masks = detections.masks
    if masks is not None and masks.shape[1:] != (height, width):
        raise ValueError(
            f"Expected masks of {width} x {height} pixels (width x height), received "
            f"{masks.shape[2]} x {masks.shape[1]}."
        )
    shapes = []
    for i, label in enumerate(detections.labels):
        mask = None if masks is None else masks[i]
        if mask is None or not mask.any():
            corners = detections.boxes_xyxy[i].astype(float).reshape(2, 2)
            found = [_shape(label, "rectangle", corners)]
        elif polygons:
            found = [_shape(label, "polygon", p) for p in pixel_polygons(mask)]
        else:
            found = [_mask_shape(label, mask)]
        for shape in found:
            if len(found) > 1:
                shape["group_id"] = i
            if detections.scores is not None:
                shape["score"] = float(detections.scores[i])
        shapes += found
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def from_labelme(content: Mapping[str, Any]) -> Detections:
    """Detections of a LabelMe file's content.

    Shapes of one label and one `group_id` are one instance. The box of an instance
    with a mask is what the mask covers. Coordinates are cut at the picture's border.

    Args:
        content: what `json.load` gives of the file.

    Returns:
        Masks where there is a polygon or a mask, all False for rectangles.

    Raises:
        ValueError: when the picture's size is missing, or a shape is neither rectangle,
            polygon nor mask.
    """
    width, height = content.get("imageWidth"), content.get("imageHeight")
    if not width or not height:
        raise ValueError(
            f"Expected imageWidth and imageHeight in a LabelMe file, received {width} "
            f"and {height}. Fill in the picture's size in pixels."
        )
    labels, boxes, masks, scores = [], [], [], []
    for shapes in _instances(content["shapes"]):
        mask = np.zeros((height, width), bool)
        for shape in shapes:
            mask |= _to_mask(shape, width, height)
        corners = np.concatenate([np.array(s["points"], float) for s in shapes])
        labels.append(shapes[0]["label"])
        masks.append(mask)
        boxes.append(box_around(mask, corners.clip(0, [width, height])))
        scores.append(shapes[0].get("score"))
    has_masks = any(shape["shape_type"] != "rectangle" for shape in content["shapes"])
    return Detections(
        labels=tuple(labels),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=np.stack(masks) if has_masks else None,
        scores=fill_scores(scores),
    )


def _shape(label: str, kind: str, corners: np.ndarray) -> dict[str, Any]:
    return {
        "label": label,
        "points": corners.astype(float).tolist(),
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def _mask_shape(label: str, mask: np.ndarray) -> dict[str, Any]:
    """The mask's extent as a PNG; its corners are the first and the last pixel."""
    x1, y1, x2, y2 = (int(v) for v in box_around(mask))
    shape = _shape(label, "mask", np.array([[x1, y1], [x2 - 1, y2 - 1]]))
    buffer = io.BytesIO()
    Image.fromarray(mask[y1:y2, x1:x2]).save(buffer, "PNG")
    shape["mask"] = base64.b64encode(buffer.getvalue()).decode("ascii")
    return shape


def _to_mask(shape: Mapping[str, Any], width: int, height: int) -> np.ndarray:
    """bool[height, width] of a polygon or mask; nothing of a rectangle."""
    kind = shape["shape_type"]
    if kind == "polygon":
        return rasterize([shape["points"]], width, height)
    mask = np.zeros((height, width), bool)
    if kind == "mask":
        part = _read_mask(shape)
        x, y = (round(v) for v in shape["points"][0])
        # What lies left of the picture or above it is cut off too.
        part, x, y = part[max(-y, 0) :, max(-x, 0) :], max(x, 0), max(y, 0)
        window = mask[y : y + part.shape[0], x : x + part.shape[1]]
        window[:] = part[: window.shape[0], : window.shape[1]]
    elif kind != "rectangle":
        raise ValueError(
            "Expected shapes of the kinds rectangle, polygon and mask, received "
            f"{kind!r} of the label {shape['label']!r}. Draw it as one of these."
        )
    return mask


def _read_mask(shape: Mapping[str, Any]) -> np.ndarray:
    """bool[h, w] of the PNG in a shape, which has one channel."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
            levels = np.array(picture)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"Expected a picture in base64 under mask, in the shape of the label "
            f"{shape['label']!r}. Received: {error}."
        ) from error
    if levels.ndim != 2:
        raise ValueError(
            "Expected a mask of one channel, 0 outside, in the shape of the label "
            f"{shape['label']!r}. Received: {levels.shape[-1]} channels."
        )
    return levels > 0


def _instances(shapes: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Shapes of one label and group together, in the order of their first ones."""
    instances: dict[Any, list[Mapping[str, Any]]] = {}
    for i, shape in enumerate(shapes):
        group = shape.get("group_id")
        key = i if group is None else (shape["label"], group)
        instances.setdefault(key, []).append(shape)
    return list(instances.values())
