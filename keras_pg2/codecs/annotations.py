"""Masks of COCO annotation files to arrays, and arrays to run lengths.

An annotation holds its mask in one of three forms, all told apart here: polygons,
`[[x1, y1, x2, y2, x3, y3, ...], ...]` in pixels; run lengths `{"counts": [...],
"size": [H, W]}`, runs of 0 and 1 in turn down the columns; the same with `counts`
compressed to a text. Source: cocodataset.org/#format-data and pycocotools
(`common/maskApi.c` has the compression).

Axes: H and W height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np
from PIL import Image

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.packages import import_coco_mask

# Drawn masks take time and memory by the length of their outline, so a polygon in
# other units, such as micrometres, is told before it is drawn.
_MAX_COORDINATE = 2**15
_MOST_OUTLINE = 2**22
"""Pixels. pycocotools takes 80 bytes for each."""
_MOST_MASK_BYTES = 2**32
"""Bound of all masks of a picture, at one byte per pixel."""


def mask_from_coco(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any], width: int, height: int
) -> np.ndarray:
    """The mask bool[H, W] of what an annotation has under "segmentation".

    Args:
        segmentation: polygons, of which the mask is the union; or run lengths, plain
            or compressed.
        width: W of the picture the annotation belongs to, in pixels.
        height: H, likewise.

    Raises:
        ValueError: when the polygons or run lengths are none, or belong to a picture
            of another size.
        ImportError: when there are polygons and pycocotools is not installed.
    """
    polygons = check_segmentation(segmentation, width, height)
    runs = segmentation
    if not isinstance(runs, Mapping):
        mask = import_coco_mask()
        runs = mask.merge(mask.frPyObjects(polygons, height, width))
    # Run lengths go down the columns.
    lengths = _run_lengths(runs)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T.copy()


def check_mask_size(width: object, height: object, count: int = 1) -> tuple[int, int]:
    """Return the width and height of a picture whose masks fit into memory.

    Tools that know only one kind of number write 40.0 for 40.

    Args:
        width: of the picture, as a file has it.
        height: likewise.
        count: masks of the picture that are kept at once.

    Raises:
        ValueError: if they are not whole numbers above 0, or of more pixels than Pillow
            decodes, which `PIL.Image.MAX_IMAGE_PIXELS` sets, or the masks are more than
            4 GB together.
    """
    size = [
        int(side) if isinstance(side, float) and side.is_integer() else side
        for side in (width, height)
    ]
    if not all(
        isinstance(side, int | np.integer)
        and not isinstance(side, bool)
        and 0 < int(side) < 2**31
        for side in size
    ):
        raise ValueError(
            "Expected the width and height of the picture in pixels, received "
            f"width={shown(width)}, height={shown(height)}."
        )
    columns, rows = (int(side) for side in size)  # type: ignore[call-overload]
    limit = Image.MAX_IMAGE_PIXELS
    # Pillow decodes nothing of twice as many pixels.
    if limit is not None and columns * rows > 2 * limit:
        raise ValueError(
            f"Expected a picture of at most {2 * limit:,} pixels, which is as many as "
            f"Pillow decodes, received width={columns}, height={rows}. Raise "
            "PIL.Image.MAX_IMAGE_PIXELS for larger ones."
        )
    if count * columns * rows > _MOST_MASK_BYTES:
        raise ValueError(
            f"Expected masks of at most {_MOST_MASK_BYTES / 1e9:.1f} GB, received "
            f"{count} of a picture of {columns} x {rows} pixels. Take boxes alone, or "
            "smaller pictures."
        )
    return columns, rows


def as_floats(values: object) -> np.ndarray:
    """Return lists of numbers, at most lists of lists, as float64.

    Raises:
        ValueError: if they are something else, such as texts, or no rectangle.
    """
    kinds = {type(values)}
    if isinstance(values, list | tuple):
        kinds = set(map(type, values))
        if not kinds.isdisjoint((list, tuple)):
            rows = (row for row in values if isinstance(row, list | tuple))
            kinds = kinds - {list, tuple} | set(map(type, chain.from_iterable(rows)))
    elif isinstance(values, np.ndarray):
        kinds = {values.dtype.type}
    wrong = [kind for kind in kinds if kind is bool or not issubclass(kind, Real)]
    if wrong:
        raise ValueError(f"numbers, received {wrong[0].__name__}")
    try:
        return np.asarray(values, np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from error


def check_segmentation(
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any], width: int, height: int
) -> list[list[float]]:
    """The polygons of a segmentation; none where there are run lengths.

    Args:
        segmentation: as in `mask_from_coco`.
        width: likewise.
        height: likewise.

    Raises:
        ValueError: likewise.
    """
    check_mask_size(width, height)
    if isinstance(segmentation, Mapping):
        _check_runs(segmentation, width, height)
        return []
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, (str, bytes)):
        raise ValueError(
            "Expected a segmentation as polygons (a list of lists of numbers) or run "
            'lengths ({"counts", "size"}), received '
            f"{type(segmentation).__name__}."
        )
    polygons = [_check_polygon(polygon, i) for i, polygon in enumerate(segmentation)]
    if not polygons:
        raise ValueError(
            "Expected at least one polygon, received an empty list. Leave "
            "annotations without a mask out, or give them a box only."
        )
    _check_outline(polygons)
    return polygons


def mask_to_rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths of a mask bool[H, W], ready for a JSON file.

    Returns:
        `{"size": [H, W], "counts": str}`.

    Raises:
        ValueError: when the mask is no bool[H, W].
        ImportError: when pycocotools is not installed.
    """
    mask = _check_mask(mask)
    runs = import_coco_mask().encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def mask_to_counts(mask: np.ndarray) -> dict[str, Any]:
    """Return plain run lengths of a mask bool[H, W], without pycocotools.

    Returns:
        `{"size": [H, W], "counts": list[int]}`.

    Raises:
        ValueError: if the mask is not bool[H, W].
    """
    mask = _check_mask(mask)
    values = mask.T.reshape(-1)
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *edges.tolist(), len(values)]
    # The first run is of zeros, if need be of none.
    first = [0] if len(values) and values[0] else []
    return {"size": list(mask.shape), "counts": first + np.diff(bounds).tolist()}


def _check_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(
            f"Expected a mask as bool[height, width], received "
            f"{mask.dtype}{list(mask.shape)}. Compare it with a threshold first, and "
            "pass one mask at a time."
        )
    return mask


def _check_polygon(polygon: Sequence[float], index: int) -> list[float]:
    if isinstance(polygon, (int, float)):
        raise ValueError(
            "Expected polygons as a list of lists of numbers, received a list of "
            "numbers. Put a single polygon in a list."
        )
    try:
        points = as_floats(polygon)
    except ValueError as error:
        raise ValueError(
            f"Expected numbers x1, y1, x2, y2, ... in polygon {index}, received: "
            f"{error}."
        ) from error
    # pycocotools takes four numbers for a box x, y, width, height.
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError(
            "Expected three or more points x1, y1, x2, y2, x3, y3, ... in polygon "
            f"{index}, received {len(np.atleast_1d(points))} numbers."
        )
    if not np.isfinite(points).all() or np.abs(points).max() > _MAX_COORDINATE:
        raise ValueError(
            f"Expected finite coordinates in pixels, at most {_MAX_COORDINATE}, in "
            f"polygon {index}, received values in {points.min():g}..{points.max():g}."
        )
    result: list[float] = points.tolist()
    return result


def _check_outline(polygons: list[list[float]]) -> None:
    """Raise ValueError if more pixels are drawn from corner to corner than is usual."""
    # No polygon has more than this, which is quickly known.
    if sum(len(p) * (max(p) - min(p) + 1) for p in polygons) <= _MOST_OUTLINE:
        return
    length = 0.0
    for polygon in polygons:
        corners = np.reshape(polygon, (-1, 2))
        steps = np.abs(corners - np.roll(corners, 1, axis=0))
        length += float(steps.max(axis=1).sum()) + len(corners)
    if length > _MOST_OUTLINE:
        raise ValueError(
            f"Expected polygons with an outline of at most {_MOST_OUTLINE:,} pixels, "
            f"received {length:,.0f}. Draw them with fewer corners."
        )


def _check_runs(runs: Mapping[str, Any], width: int, height: int) -> None:
    missing = [key for key in ("size", "counts") if key not in runs]
    if missing:
        raise ValueError(
            f'Expected run lengths as {{"counts", "size"}}, received no {missing[0]!r}.'
        )
    size = runs["size"]
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(
            f"Expected run lengths of size [{height}, {width}], the height and width "
            f"of the picture, received {shown(size)}."
        )
    lengths = _run_lengths(runs)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise ValueError(
            "Expected the counts of run lengths as numbers of pixels, received "
            f"{shown(runs['counts'])}."
        )
    # Python's integers: a sum of int64 could wrap around to the right number.
    total = sum(lengths.tolist())
    if total != height * width:
        raise ValueError(
            f"Expected run lengths of {height} x {width} = {height * width} pixels, "
            f"received {total}."
        )


def _run_lengths(runs: Mapping[str, Any]) -> np.ndarray:
    counts = runs["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts)
    if isinstance(counts, Sequence):
        # Texts would take as much room as the longest of them, each.
        wrong = [
            kind for kind in set(map(type, counts)) if not issubclass(kind, Integral)
        ]
        if wrong:
            raise ValueError(
                "Expected the counts of run lengths as numbers of pixels, received "
                f"{wrong[0].__name__}."
            )
    lengths = np.asarray(counts)
    return lengths if lengths.size else np.zeros(0, int)


def _decompress(text: str | bytes) -> list[int]:
    """The counts of a compressed text.

    Each count is a signed number of 5 bits per character, low bits first, a sixth bit
    set where more follow; from the fourth count on it is the difference from the
    count before the last. pycocotools would read past the end of a damaged text.
    """
    data = text.encode("utf-8") if isinstance(text, str) else text
    counts: list[int] = []
    number = num_bits = 0
    for i, byte in enumerate(data):
        value = byte - 48
        # 7 characters hold 35 bits, more than any count of pixels.
        if not 0 <= value < 64 or num_bits >= 35:
            raise ValueError(
                "Expected the compressed counts of run lengths, received "
                f"{text[:60]!r}, damaged at character {i}."
            )
        number |= (value & 0x1F) << num_bits
        num_bits += 5
        if value & 0x20:
            continue
        if value & 0x10:
            number -= 1 << num_bits
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = num_bits = 0
    if num_bits:
        raise ValueError(
            f"Expected the compressed counts of run lengths, received {text[:60]!r}, "
            "which ends in the middle of a count."
        )
    return counts
