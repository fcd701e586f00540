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

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from keras_pg2.codecs.packages import import_supervision

_MOST_PAINTED = 2**31
"""Pixels of all things of a picture; they take some seconds."""


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


def paint_polygon(
    picture: Image.Image, polygon: np.ndarray | Sequence[Sequence[float]]
) -> None:
    """Paint what a pixel polygon covers, its outline included."""
    corners = np.round(np.asarray(polygon, np.float64)).astype(int)
    if len(corners) >= 3:
        points = [(x, y) for x, y in corners.tolist()]
        ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)


class CutOut(NamedTuple):
    """The part of a picture that a thing is in.

    Attributes:
        mask: bool[h, w] of what it covers.
        x: of the first column.
        y: of the first row.
        size: width and height of the picture.
    """

    mask: np.ndarray
    x: int
    y: int
    size: tuple[int, int]

    def box(self, points: np.ndarray) -> np.ndarray:
        """Return x1, y1, x2, y2 of what it covers, or of [M, 2] points if nothing."""
        offset = [self.x, self.y]
        inside = points.clip(0, self.size) - offset
        return np.add(box_around(self.mask, inside), offset * 2)

    def whole(self) -> np.ndarray:
        """Return the mask bool[H, W] of the picture."""
        mask = np.zeros(self.size[::-1], bool)
        rows, columns = self.mask.shape
        mask[self.y : self.y + rows, self.x : self.x + columns] = self.mask
        return mask


class Canvas:
    """A picture on which things are painted one after another, and cut out.

    One for all of them: a picture for each would have to be cleared as a whole.

    Args:
        width: of the picture in pixels.
        height: likewise.
    """

    def __init__(self, width: int, height: int) -> None:
        self._picture = Image.new("L", (width, height))
        self._num_left = _MOST_PAINTED

    def cut_out(
        self, points: np.ndarray, paint: Callable[[Image.Image], None]
    ) -> CutOut:
        """Paint a thing and cut it out.

        Args:
            points: [M, 2] as x, y; nothing is painted beyond them. None is no thing.
            paint: paints it in 1 on a picture of "L".

        Raises:
            ValueError: if all things together take more than some seconds.
        """
        size = self._picture.size
        if not len(points):
            return CutOut(np.zeros((0, 0), bool), 0, 0, size)
        # A pixel more on each side, in whatever way corners are rounded.
        low, high = points.min(axis=0).clip(-2, size), points.max(axis=0).clip(-2, size)
        x1, y1 = (max(math.floor(v) - 1, 0) for v in low.tolist())
        x2, y2 = (math.ceil(v) + 2 for v in high.tolist())
        x2, y2 = min(max(x2, x1), size[0]), min(max(y2, y1), size[1])
        # Corners are looked up in every row.
        self._num_left -= (x2 - x1) * (y2 - y1) + len(points) * int(
            np.ptp(points[:, 1])
        )
        if self._num_left < 0:
            raise ValueError(
                f"Expected things that cover at most {_MOST_PAINTED:,} pixels together "
                f"in a picture of {size[0]} x {size[1]}. Received more, or with more "
                "corners. Leave out shapes that are drawn over others."
            )
        if x1 >= x2 or y1 >= y2:
            return self.cut_out(points[:0], paint)
        paint(self._picture)
        mask = np.asarray(self._picture.crop((x1, y1, x2, y2))) > 0
        self._picture.paste(0, (x1, y1, x2, y2))
        return CutOut(mask, x1, y1, size)


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
