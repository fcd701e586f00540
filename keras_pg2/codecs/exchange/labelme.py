"""Detections to the JSON files of LabelMe 5 and back, one file per picture.

Format: labelme 5.5 `label_file.py` (keys of the file and of a shape) and
`utils/shape.py` (how shapes become masks).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from keras_pg2.checks.texts import printable, reason, shown
from keras_pg2.codecs.annotations import as_floats, check_mask_size
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import fill_scores
from keras_pg2.codecs.exchange.polygons import (
    Canvas,
    box_around,
    paint_polygon,
    pixel_polygons,
)

VERSION = "5.5.0"
"""Of the format. LabelMe warns at another first number than its own."""

_POLYGON, _RECTANGLE = "polygon", "rectangle"
_LEAST_POINTS = {_RECTANGLE: 2, _POLYGON: 3, "circle": 2, "mask": 1}
_MAX_COORDINATE = 2**20


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


def from_labelme(content: Mapping[str, Any], with_masks: bool = True) -> Detections:
    """Detections of a LabelMe file's content.

    Shapes of one label and one `group_id` are one instance. The box of an instance
    with a mask is what the mask covers. Coordinates are cut at the picture's border. A
    shape without a kind is a polygon, as in files of old versions; a circle is a mask.

    Args:
        content: what `json.load` gives of the file.
        with_masks: False gives boxes alone, which takes little memory.

    Returns:
        Masks where there is a polygon, a circle or a mask, all False for rectangles.

    Raises:
        ValueError: when the picture's size is missing or beyond what Pillow decodes,
            a shape lacks its label or points, or is a point, a line or another thing
            without an area.
    """
    width, height = _size(content)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError(
            "Expected a list of shapes in a LabelMe file, received "
            f"{type(shapes).__name__ if 'shapes' in content else 'none'}."
        )
    parsed = [_Shape.of(shape, i) for i, shape in enumerate(shapes)]
    instances = _instances(parsed)
    has_masks = with_masks and any(shape.kind != _RECTANGLE for shape in parsed)
    if has_masks:
        check_mask_size(width, height, len(instances))
    canvas = Canvas(width, height)
    labels, boxes, masks, scores = [], [], [], []
    for parts in instances:
        extents = [part.extent() for part in parts if part.kind != _RECTANGLE]
        found = canvas.cut_out(
            np.concatenate([np.zeros((0, 2)), *extents]), partial(_paint_all, parts)
        )
        labels.append(parts[0].label)
        boxes.append(found.box(np.concatenate([part.points for part in parts])))
        if has_masks:
            masks.append(found.whole())
        scores.append(parts[0].score)
    return Detections(
        labels=tuple(labels),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=np.stack(masks) if has_masks else None,
        scores=fill_scores(scores),
    )


class _Shape(NamedTuple):
    """A shape of a file, checked.

    Attributes:
        label: its label.
        kind: "rectangle", "polygon", "circle" or "mask".
        points: float64[M, 2] as x, y.
        group: its number among those of one instance; None alone.
        score: in [0, 1]; None without one.
        picture: of the kind "mask", not decoded yet; None of others.
    """

    label: str
    kind: str
    points: np.ndarray
    group: int | str | None
    score: float | None
    picture: Image.Image | None

    @classmethod
    def of(cls, shape: object, index: int) -> _Shape:
        """Check a shape.

        Raises:
            ValueError: if it cannot be an instance.
        """
        values = shape if isinstance(shape, Mapping) else {}
        label, score = values.get("label"), values.get("score")
        if not isinstance(label, str):
            raise ValueError(
                f"Expected a label in shape {index} of a LabelMe file, received "
                f"{shown(label)}."
            )
        given = values.get("shape_type")
        kind = _POLYGON if given in (None, "") else given
        least = _LEAST_POINTS.get(kind) if isinstance(kind, str) else None
        if least is None:
            raise ValueError(
                "Expected shapes of the kinds rectangle, polygon, circle and mask, "
                f"received {shown(kind)} of the label {shown(label)}, which has no "
                "area. Draw it as one of these."
            )
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (is_number and 0 <= score <= 1):
            raise ValueError(
                f"Expected a score in [0, 1] in the shape of the label {shown(label)}, "
                f"received {shown(score)}."
            )
        try:
            points = as_floats(values.get("points"))
        except ValueError:
            points = np.zeros(0)
        if (
            points.ndim != 2
            or points.shape[1] != 2
            or len(points) < least
            or not np.abs(points).max() < _MAX_COORDINATE
        ):
            raise ValueError(
                f"Expected {least} or more points [x, y] in pixels in the {kind} of "
                f"the label {shown(label)}, received {shown(values.get('points'))}."
            )
        if kind == "circle":
            # A centre and a point of its edge; its corners take their place.
            radius = np.hypot(*(points[1] - points[0]))
            points = np.array([points[0] - radius, points[0] + radius])
        group = values.get("group_id")
        if not isinstance(group, int | str | None) or isinstance(group, bool):
            raise ValueError(
                "Expected group_id as a number in the shape of the label "
                f"{shown(label)}, received {shown(group)}."
            )
        picture = _open_mask(values.get("mask"), label) if kind == "mask" else None
        return cls(label, kind, points, group, score, picture)

    def extent(self) -> np.ndarray:
        """Return points [M, 2] as x, y, beyond which it covers nothing."""
        if self.picture is None:
            return self.points
        corner = np.round(self.points[0])
        return np.array([corner, corner + self.picture.size])

    def paint(self, canvas: Image.Image) -> None:
        """Paint what a shape covers, as LabelMe does; nothing of a rectangle."""
        if self.kind == _POLYGON:
            paint_polygon(canvas, self.points)
        elif self.kind == "circle":
            corners = self.points.reshape(-1).tolist()
            ImageDraw.Draw(canvas).ellipse(corners, fill=1, outline=1)
        elif self.picture is not None:
            x, y = (round(v) for v in self.points[0].tolist())
            canvas.paste(1, (x, y), _decode_mask(self.picture, self.label))


def _paint_all(parts: Sequence[_Shape], canvas: Image.Image) -> None:
    for part in parts:
        part.paint(canvas)


def _open_mask(content: object, label: str) -> Image.Image:
    """Return the PNG in base64, of which the header alone is read."""
    try:
        data = base64.b64decode(content)  # type: ignore[arg-type]
        return Image.open(io.BytesIO(data), formats=("PNG",))
    # Damaged pictures raise nearly anything.
    except Exception as error:
        raise _no_mask(label, error) from error


def _decode_mask(picture: Image.Image, label: str) -> Image.Image:
    """Return the picture with 1 in all that is above 0."""
    try:
        levels = np.array(picture)
    except Exception as error:
        raise _no_mask(label, error) from error
    if levels.ndim != 2:
        raise ValueError(
            "Expected a mask of one channel, 0 outside, in the shape of the label "
            f"{shown(label)}. Received: {levels.shape[-1]} channels."
        )
    return Image.fromarray(levels > 0)


def _no_mask(label: str, error: Exception) -> ValueError:
    return ValueError(
        "Expected a picture in base64 under mask, a PNG, in the shape of the label "
        f"{shown(label)}. Received: {reason(error)}."
    )


def _size(content: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the picture, which some tools write as 40.0."""
    try:
        return check_mask_size(content.get("imageWidth"), content.get("imageHeight"))
    except ValueError as error:
        raise ValueError(
            "Expected imageWidth and imageHeight of a LabelMe file. Received: "
            f"{printable(error)}"
        ) from error


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


def _instances(shapes: list[_Shape]) -> list[list[_Shape]]:
    """Shapes of one label and group together, in the order of their first ones."""
    instances: dict[Any, list[_Shape]] = {}
    for i, shape in enumerate(shapes):
        key = i if shape.group is None else (shape.label, shape.group)
        instances.setdefault(key, []).append(shape)
    return list(instances.values())
