"""Small pictures of examples, to be part of a page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence

from PIL import Image

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.drawing import draw_detections
from keras_pg2.evaluation.results import Outcome
from keras_pg2.preprocessing.images import open_image

_LARGEST_SIDE = 360
_SMALLEST_SIDE = 180
"""Smaller pictures are enlarged, so that boxes and names on them can be read."""


def picture_names(outcome: Outcome) -> tuple[str, ...]:
    """Return paths or addresses of an example's pictures."""
    if outcome.image is None:
        return ()
    return (outcome.image,) if isinstance(outcome.image, str) else outcome.image


def thumbnail(
    name: str, things: Detections | None = None, labels: Sequence[str] = ()
) -> str | None:
    """Return a picture as an address that has the whole of it (`data:`), a JPEG.

    Args:
        name: Path of the picture. Addresses are not opened.
        things: Boxes and masks to draw, in pixels of the picture.
        labels: As for `draw_detections`, the same for all pictures of an example.

    Returns:
        None if the picture cannot be opened or drawn on.
    """
    if "://" in name:
        return None
    # A picture that a reader made has the name of its file and of the part or frame.
    path = name if os.path.exists(name) else name.rpartition("#")[0]
    try:
        picture = open_image(path)
        if things is not None:
            picture = _drawn(picture, things, labels)
    except (OSError, ValueError, TypeError):
        return None
    scale = _LARGEST_SIDE / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # At less than full resolution of colours thin frames of boxes lose theirs.
    options = {"quality": 82, "optimize": True, "subsampling": "4:4:4"}
    picture.convert("RGB").save(file, "JPEG", **options)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _drawn(
    picture: Image.Image, things: Detections, labels: Sequence[str]
) -> Image.Image:
    factor = -(-_SMALLEST_SIDE // max(picture.size))
    if factor > 1 and things.masks is None:
        size = picture.size[0] * factor, picture.size[1] * factor
        picture = picture.resize(size, Image.Resampling.NEAREST)
        things = Detections(
            things.labels, things.boxes_xyxy * factor, None, things.scores
        )
    return draw_detections(picture, things, labels=labels)
