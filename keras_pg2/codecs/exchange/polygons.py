"""Masks as polygons and back.

Two kinds of polygons are about, half a pixel apart:

- **pixel polygons** run through the outermost pixels themselves, whole numbers. Tools
  that paint the outline along with the inside (OpenCV, Pillow, LabelMe, supervision,
  Ultralytics) give the mask back from these.
- **edge polygons** run between the outermost pixels' centres and edges, in quarters.
  Tools that ask for each pixel's centre (pycocotools) give the mask back from these.

Both go around the outside: holes are filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_pg2.codecs.packages import import_supervision


def pixel_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """int64[M, 2] corners (x, y) of each part of bool[H, W], the largest part first.

    Raises:
        ImportError: when supervision is not installed.
    """
    supervision = import_supervision()
    # SciPy is one of supervision's own requirements.
    from scipy import ndimage

    # First the holes: as polygons they, and what lies in them, would look like parts.
    # Pixels that touch at a corner belong together, as the contours see it.
    filled = ndimage.binary_fill_holes(mask)
    parts, _ = ndimage.label(filled, np.ones((3, 3)))
    polygons = []
    for i, slices in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[slices] == i
        offset = (slices[1].start, slices[0].start)
        contours = supervision.mask_to_polygons(part) or [_line(part)]
        polygons += [contour.astype(np.int64) + offset for contour in contours]
    return sorted(polygons, key=_area, reverse=True)


def edge_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """float64[M, 2] corners (x, y) of each part of bool[H, W], the largest part first.

    Raises:
        ImportError: when supervision is not installed.
    """
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    return [polygon / 2 + 0.25 for polygon in pixel_polygons(doubled)]


def joined(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon [M, 2] of several: each hangs on a seam to what came before it.

    A seam is walked to and fro along the shortest way between two corners, and is
    painted one pixel wide.
    """
    whole = polygons[0]
    for part in polygons[1:]:
        distances = ((whole[:, None] - part[None]) ** 2).sum(axis=-1)
        i, j = np.unravel_index(np.argmin(distances), distances.shape)
        tour = np.concatenate([part[j:], part[: j + 1]])
        whole = np.concatenate([whole[: i + 1], tour, whole[i:]])
    return whole


def rasterize(
    polygons: Sequence[np.ndarray | Sequence[Sequence[float]]], width: int, height: int
) -> np.ndarray:
    """bool[height, width] of what pixel polygons cover together, outlines included."""
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for polygon in polygons:
        corners = np.round(np.asarray(polygon, np.float64)).astype(int)
        if len(corners) >= 3:
            draw.polygon([(x, y) for x, y in corners.tolist()], fill=1, outline=1)
    return np.array(picture, bool)


def box_around(mask: np.ndarray, points: np.ndarray | None = None) -> list[float]:
    """x1, y1, x2, y2 of what a mask covers, its last pixels included.

    Args:
        mask: bool[H, W].
        points: [M, 2] as x, y, whose extent it is where the mask is empty; None for
            the upper left corner.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        points = np.zeros((1, 2)) if points is None else points
        return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    return [float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def _line(part: np.ndarray) -> np.ndarray:
    """Three corners (x, y) of a dot or a straight line, which has two or one."""
    pixels = np.argwhere(part)[:, ::-1]
    return pixels[[0, -1, -1]]


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
