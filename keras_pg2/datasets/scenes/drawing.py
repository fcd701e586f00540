"""Scenes as pixels: the picture, the masks and the boxes at any size.

See `keras_pg2.datasets.scenes` for the whole.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.datasets.scenes.scene import (
    CANVAS_SIZE,
    CHARACTER_CELL,
    Scene,
    SceneObject,
)


def render(scene: Scene, size: int = CANVAS_SIZE) -> np.ndarray:
    """The picture, `uint8[size, size, 3]` RGB, anti-aliased.

    Raises:
        ValueError: if `size` is below 28 pixels, where shapes cannot be told apart.
    """
    _check_size(size)
    drawn = size * _supersampling(size)
    first, last = (Image.new("RGB", (drawn, drawn), c) for c in scene.background)
    ramp = Image.linear_gradient("L").resize((drawn, drawn))
    if not scene.is_gradient_vertical:
        ramp = ramp.transpose(Image.Transpose.ROTATE_90)
    picture = Image.composite(last, first, ramp)
    pen = ImageDraw.Draw(picture)
    for item in scene.objects:
        _draw_shape(pen, item, drawn, item.rgb)
    if scene.text_box_xyxy is not None:
        _draw_text(pen, scene.text, scene.text_box_xyxy, drawn)
    return np.asarray(picture.reduce(drawn // size))


def masks(scene: Scene, size: int = CANVAS_SIZE) -> np.ndarray:
    """One mask per object in the order of `scene.objects`, `bool[N, size, size]`.

    True where the object covers at least half of the pixel. The text has no mask.
    """
    _check_size(size)
    drawn = size * _supersampling(size)
    planes = np.zeros((len(scene.objects), size, size), bool)
    for plane, item in zip(planes, scene.objects, strict=True):
        picture = Image.new("L", (drawn, drawn))
        _draw_shape(ImageDraw.Draw(picture), item, drawn, 255)
        plane[:] = np.asarray(picture.reduce(drawn // size)) >= 128
    return planes


def _check_size(size: int) -> None:
    if size < 28:
        raise ValueError(
            f"Expected a picture size of at least 28 pixels, received {size}. "
            "Draw the scene larger and resize it if you need less."
        )


def _supersampling(size: int) -> int:
    return 4 if size <= 128 else 2


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    item: SceneObject,
    drawn: int,
    fill: tuple[int, int, int] | int,
) -> None:
    x0, y0, x1, y1 = (v * drawn / CANVAS_SIZE for v in item.box_xyxy)
    if item.shape == "circle":
        pen.ellipse((x0, y0, x1 - 1, y1 - 1), fill=fill)
    elif item.shape == "square":
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=fill)
    else:
        points = _OUTLINES[item.shape]
        pen.polygon(
            [(x0 + x * (x1 - 1 - x0), y0 + y * (y1 - 1 - y0)) for x, y in points],
            fill=fill,
        )


def _star_outline() -> tuple[tuple[float, float], ...]:
    """Ten corners of a five-pointed star that fills the unit square."""
    angles = [math.pi * (k / 5 - 0.5) for k in range(10)]
    radii = [1.0 if k % 2 == 0 else 0.45 for k in range(10)]
    xs = [r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
    ys = [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]
    return tuple(
        ((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys)))
        for x, y in zip(xs, ys, strict=True)
    )


_OUTLINES = {"triangle": ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)), "star": _star_outline()}


def _draw_text(
    pen: ImageDraw.ImageDraw, text: str, box: tuple[int, ...], drawn: int
) -> None:
    scale = drawn / CANVAS_SIZE
    # The font embedded in Pillow; at this size a capital is about 11.5 units high.
    font = ImageFont.load_default(16 * scale)
    y = (box[1] + box[3]) / 2 * scale
    for k, character in enumerate(text):
        x = (box[0] + (k + 0.5) * CHARACTER_CELL) * scale
        left, top, right, bottom = font.getbbox(character)
        pen.text(
            (x - (left + right) / 2, y - (top + bottom) / 2),
            character,
            font=font,
            fill=(20, 20, 20),
            stroke_width=0.25 * scale,
            stroke_fill=(20, 20, 20),
        )


def boxes_xyxy(scene: Scene, size: int = CANVAS_SIZE) -> np.ndarray:
    """Boxes of the objects, `float32[N, 4]`: x0, y0, x1, y1 in pixels of `size`."""
    boxes = np.array([o.box_xyxy for o in scene.objects], np.float32).reshape(-1, 4)
    return boxes * (size / CANVAS_SIZE)
