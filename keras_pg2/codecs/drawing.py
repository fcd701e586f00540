"""Drawing detections on a picture."""

from __future__ import annotations

import colorsys
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.codecs.detections import Detections
from keras_pg2.preprocessing.image_files import is_path
from keras_pg2.preprocessing.images import open_image

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Far apart on the colour circle and told apart by lightness too.
PALETTE = (
    (230, 57, 70),
    (67, 170, 255),
    (255, 200, 30),
    (60, 180, 90),
    (190, 90, 230),
    (255, 130, 40),
    (40, 210, 210),
    (250, 120, 190),
    (160, 110, 60),
    (150, 200, 60),
)


def draw_boxes(
    image: Image.Image | np.ndarray | Any,
    detections: Detections,
    font: Font | None = None,
) -> Image.Image:
    """A copy of the picture with a box and a name for each detection.

    Each label has its own colour. Boxes have a dark rim and names stand on filled
    plates that stay within the picture, so both can be read on any background.

    Args:
        image: a PIL image, or an array `uint8[H, W, 3]` or another that
            `preprocessing.images.load_rgb` takes. A photograph that is stored turned
            (EXIF orientation) is drawn upright, as the model sees it.
        detections: boxes in pixels of this picture, upright.
        font: for the names; None takes Pillow's own, scaled to the picture, which
            knows Latin letters only.

    Returns:
        An RGB picture of the upright picture's size, transparency over white.

    Raises:
        TypeError: if `image` is neither a PIL image nor an array.
        ValueError: if the array is of another shape or range.
    """
    picture = _to_picture(image)
    draw = ImageDraw.Draw(picture)
    scale = min(picture.size)
    line_width = max(1, round(scale / 200))
    if font is None:
        font = ImageFont.load_default(size=max(12, round(scale / 28)))
    colors = label_colors(detections.labels)
    boxes = detections.boxes_xyxy.tolist()
    for label, box in zip(detections.labels, boxes):
        _draw_frame(draw, box, colors[label], line_width, picture.size)
    # Names last, so that no frame runs through one.
    for label, box in zip(detections.labels, boxes):
        if label:
            _draw_name(draw, label, box, colors[label], font, picture.size)
    return picture


def label_colors(labels: tuple[str, ...] | list[str]) -> dict[str, tuple[int, ...]]:
    """One RGB colour per different label, in the order of first appearance."""
    colors: dict[str, tuple[int, ...]] = {}
    for label in labels:
        if label not in colors:
            i = len(colors)
            colors[label] = PALETTE[i] if i < len(PALETTE) else _further_color(i)
    return colors


def _further_color(i: int) -> tuple[int, ...]:
    """Steps of the golden angle never come close to each other soon."""
    rgb = colorsys.hsv_to_rgb((i * 0.618034) % 1, 0.65, 0.95)
    return tuple(round(255 * level) for level in rgb)


def _to_picture(image: Any) -> Image.Image:
    """A new RGB picture, upright."""
    if is_path(image):
        raise TypeError(
            "Expected a PIL image or a uint8 array [H, W, 3], received "
            f"{type(image).__name__}. Open files with "
            "keras_pg2.preprocessing.images.open_image first."
        )
    return open_image(image)


def _draw_frame(
    draw: ImageDraw.ImageDraw,
    box: list[float],
    color: tuple[int, ...],
    line_width: int,
    size: tuple[int, int],
) -> None:
    rim = max(1, line_width // 2)
    x1, y1, x2, y2 = (round(v) for v in box)
    x2, y2 = min(x2, size[0] - 1), min(y2, size[1] - 1)
    x1, y1 = min(max(x1, 0), x2), min(max(y1, 0), y2)
    outer = (x1 - rim, y1 - rim, x2 + rim, y2 + rim)
    draw.rectangle(outer, outline=(20, 20, 20), width=line_width + 2 * rim)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line_width)


def _draw_name(
    draw: ImageDraw.ImageDraw,
    label: str,
    box: list[float],
    color: tuple[int, ...],
    font: Font,
    size: tuple[int, int],
) -> None:
    """The name above the box, or inside it at the picture's upper border."""
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    margin = max(2, round((bottom - top) / 5))
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x = max(0, min(round(box[0]), size[0] - width))
    y = round(box[1]) - height
    y = max(0, min(y if y >= 0 else round(box[1]), size[1] - height))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if luminance > 140 else (255, 255, 255)
    draw.text((x + margin - left, y + margin - top), label, fill=ink, font=font)
