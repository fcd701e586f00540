"""Boxes to `<loc....>` tokens and back.

A coordinate v in [0, 1] of the picture's height or width is the bin round(v * 1023);
bin b is the coordinate b / 1023. A box is four tokens in the order y1 x1 y2 x2.
Source: big_vision `pp/proj/paligemma/segmentation.py` (encoding) and
`evaluators/proj/paligemma/transfers/segmentation.py` (decoding). A widely copied demo
parser divides by 1024, which shrinks boxes by a thousandth.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

NUM_BINS = 1024

# Annotated boxes may reach over the border by a rounding error.
BORDER_TOLERANCE = 1e-3


def encode_boxes_yxyx(boxes_yxyx: np.ndarray) -> np.ndarray:
    """Bins int32[N, 4] in 0..1023 of boxes_yxyx float[N, 4] in [0, 1].

    Raises:
        ValueError: if a value is not finite or lies outside [0, 1], a box has no
            extent from its first to its second corner, or the shape is another.
    """
    boxes = _check_boxes(boxes_yxyx)
    low, high = -BORDER_TOLERANCE, 1 + BORDER_TOLERANCE
    if boxes.size and not (low <= boxes.min() and boxes.max() <= high):
        raise ValueError(
            "Expected normalised boxes (y1, x1, y2, x2) in [0, 1], received values in "
            f"{boxes.min():g}..{boxes.max():g}. Convert boxes in pixels with "
            "normalize_boxes_xyxy first."
        )
    is_ordered = (boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])
    if not is_ordered.all():
        row = int(np.argmin(is_ordered))
        raise ValueError(
            f"Expected boxes (y1, x1, y2, x2) with y1 <= y2 and x1 <= x2, received "
            f"{boxes[row].tolist()} in row {row}. Is it (x, y, width, height)?"
        )
    bins = np.round(boxes * (NUM_BINS - 1)).clip(0, NUM_BINS - 1)
    return bins.astype(np.int32)


def decode_boxes_yxyx(bins: np.ndarray) -> np.ndarray:
    """boxes_yxyx float32[N, 4] in [0, 1] of bins int[N, 4] in 0..1023.

    Raises:
        ValueError: if a bin lies outside 0..1023, or the shape is another.
    """
    boxes = _check_boxes(bins)
    if boxes.size and not (boxes.min() >= 0 and boxes.max() < NUM_BINS):
        raise ValueError(
            f"Expected bins in 0..{NUM_BINS - 1}, received values in "
            f"{boxes.min():g}..{boxes.max():g}."
        )
    return (boxes / (NUM_BINS - 1)).astype(np.float32)


def boxes_yxyx_to_text(boxes_yxyx: np.ndarray) -> list[str]:
    """The four tokens of each box: `<loc0393><loc0109><loc0859><loc0811>`.

    Raises:
        ValueError: as `encode_boxes_yxyx`.
    """
    bins = encode_boxes_yxyx(boxes_yxyx)
    return [bins_to_text(row) for row in bins.tolist()]


def bins_to_text(bins: Iterable[int]) -> str:
    """Return the location tokens of bins, as `<loc0393><loc0109>`."""
    return "".join(f"<loc{b:04d}>" for b in bins)


def to_pixels_xyxy(boxes_yxyx: np.ndarray, width: int, height: int) -> np.ndarray:
    """boxes_xyxy float32[N, 4] in pixels of a picture, of boxes_yxyx in [0, 1].

    Raises:
        ValueError: if width or height is not positive, or the shape is another.
    """
    boxes = _check_boxes(boxes_yxyx)[:, [1, 0, 3, 2]]
    return (boxes * _check_size(width, height)).astype(np.float32)


def normalize_boxes_xyxy(boxes_xyxy: np.ndarray, width: int, height: int) -> np.ndarray:
    """boxes_yxyx float32[N, 4] in [0, 1] of boxes_xyxy in pixels of a picture.

    Raises:
        ValueError: if width or height is not positive, or the shape is another.
    """
    boxes = _check_boxes(boxes_xyxy) / _check_size(width, height)
    return boxes[:, [1, 0, 3, 2]].astype(np.float32)


def _check_boxes(boxes: np.ndarray) -> np.ndarray:
    """float64[N, 4]; an empty list is no boxes."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(
            f"Expected boxes of shape [N, 4], received {array.shape}. Put a single "
            "box in a list."
        )
    if not np.isfinite(array).all():
        raise ValueError("Expected finite box coordinates, received NaN or infinity.")
    return array


def _check_size(width: int, height: int) -> np.ndarray:
    """(width, height, width, height) as float64."""
    if not (width > 0 and height > 0):
        raise ValueError(
            "Expected the width and height of the picture in pixels, received "
            f"width={width}, height={height}."
        )
    return np.array([width, height, width, height], dtype=np.float64)
