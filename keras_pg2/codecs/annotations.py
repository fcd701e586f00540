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
from typing import Any

import numpy as np

from keras_pg2.codecs.packages import import_coco_mask

# Drawn masks take time and memory by the length of their outline, so a polygon in
# other units, such as micrometres, is told before it is drawn.
_MAX_COORDINATE = 2**15


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
    if not (width > 0 and height > 0):
        raise ValueError(
            "Expected the width and height of the picture in pixels, received "
            f"width={width}, height={height}."
        )
    polygons = check_segmentation(segmentation, width, height)
    if isinstance(segmentation, Mapping):
        return _mask_of_runs(segmentation)
    mask = import_coco_mask()
    return _mask_of_runs(mask.merge(mask.frPyObjects(polygons, height, width)))


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
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError) as error:
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
            f"of the picture, received {size}."
        )
    lengths = _run_lengths(runs)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise ValueError(
            "Expected the counts of run lengths as numbers of pixels, received "
            f"{str(runs['counts'])[:60]}."
        )
    # Python's integers: a sum of int64 could wrap around to the right number.
    total = sum(lengths.tolist())
    if total != height * width:
        raise ValueError(
            f"Expected run lengths of {height} x {width} = {height * width} pixels, "
            f"received {total}."
        )


def _mask_of_runs(runs: Mapping[str, Any]) -> np.ndarray:
    height, width = runs["size"]
    lengths = _run_lengths(runs)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T.copy()


def _run_lengths(runs: Mapping[str, Any]) -> np.ndarray:
    counts = runs["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _decompress(counts)
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
