"""Painting masks into a picture: a translucent colour with a crisp outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

OPACITY = 0.45
"""Of the colour inside a mask: the thing below stays to be seen."""

RIM_COLOR = (20, 20, 20)
"""Beside coloured lines, so that they stand out on a background of their colour."""


def paint_masks(
    picture: Image.Image,
    masks: np.ndarray,
    colors: Sequence[tuple[int, ...]],
    line_width: int,
) -> None:
    """Paints masks over a picture, in place; the largest first, the smallest on top.

    Args:
        picture: mode "RGB", W x H.
        masks: bool[N, H, W]; one without any pixel paints nothing.
        colors: N RGB colours.
        line_width: of the outline in pixels, inside the mask; a dark rim of half of it
            lies around.

    Raises:
        ValueError: when the masks are not of the picture's size.
    """
    check_mask_size(picture.size, masks)
    areas = masks.sum(axis=(1, 2))
    for i in np.argsort(-areas, kind="stable").tolist():
        if areas[i]:
            _paint(picture, masks[i], colors[i], line_width)


def check_mask_size(size: tuple[int, int], masks: np.ndarray) -> None:
    """Raises ValueError unless masks[N, H, W] have `size` (W, H)."""
    height, width = masks.shape[1:]
    if (width, height) != size:
        raise ValueError(
            f"Expected masks of the picture's size, {size[0]} x {size[1]} pixels (width"
            f" x height), received masks of {width} x {height}. Pass the picture that "
            "the detections were read for, upright."
        )


def _paint(
    picture: Image.Image, mask: np.ndarray, color: tuple[int, ...], line_width: int
) -> None:
    """Works on the mask's surroundings alone, which are small in a large photograph."""
    rim = max(1, line_width // 2)
    box = _surroundings(mask, rim)
    inside = mask[box[1] : box[3], box[0] : box[2]]
    levels = np.asarray(picture.crop(box)).astype(np.float32)
    levels[inside] = (1 - OPACITY) * levels[inside] + OPACITY * np.array(color)
    levels[_grown(inside, rim) & ~inside] = RIM_COLOR
    levels[inside & ~_shrunk(inside, line_width)] = color
    painted = Image.fromarray(np.round(levels).astype(np.uint8))
    picture.paste(painted, box[:2])


def _surroundings(mask: np.ndarray, margin: int) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of what a mask covers and `margin` more, within the picture."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    return (
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(mask.shape[1], int(columns[-1]) + 1 + margin),
        min(mask.shape[0], int(rows[-1]) + 1 + margin),
    )


def _grown(mask: np.ndarray, distance: int) -> np.ndarray:
    return _filtered(mask, distance, ImageFilter.MaxFilter(3))


def _shrunk(mask: np.ndarray, distance: int) -> np.ndarray:
    # Outside of the crop is outside of the mask, so that a mask that reaches over the
    # picture's border has its outline there too.
    shrunk = _filtered(np.pad(mask, 1), distance, ImageFilter.MinFilter(3))
    return shrunk[1:-1, 1:-1]


def _filtered(mask: np.ndarray, distance: int, step: ImageFilter.Filter) -> np.ndarray:
    """Steps of one pixel, which cost less than one filter of the whole width."""
    levels = Image.fromarray(mask.astype(np.uint8))
    for _ in range(distance):
        levels = levels.filter(step)
    return np.asarray(levels).astype(bool)
