"""Detections of one picture matched with what is there, once for all draws.

What average precision needs of a picture are the scores of its detections, which of
them match a truth, and how many truths there are; no box and no mask. pycocotools
matches; a match depends on the picture alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.metrics.detection import Kind, check_masks, make_entries, match

NUM_THRESHOLDS = 10
"""IoU 0.50, 0.55, ..., 0.95."""
AREAS = ("all", "small", "medium", "large")
"""Any number of pixels, below 32^2, up to 96^2, above."""


def match_picture(
    found: Detections,
    there: Detections,
    crowds: Detections,
    areas: Sequence[float] | None,
    kind: Kind,
) -> dict[str, dict[str, list[Any]]]:
    """Return what average precision needs of a picture, by label, as JSON has it.

    Args:
        found: D detections with scores.
        there: G truths.
        crowds: Regions of many instances; detections inside of one are forgiven.
        areas: G areas in pixels, by which truths are small or large; None for those of
            the boxes or masks.
        kind: Compare boxes or masks.

    Returns:
        For each label: "scores", falling, of the 100 best detections; "matched" and
        "ignored", an integer for each of them, whose bit 10 * a + t is whether it
        matches, or counts neither as right nor as wrong, in area a of `AREAS` at
        threshold t; "num_truths", how many truths are to be found in each area.

    Raises:
        ValueError: if masks are missing or of several sizes, or areas are not one for
            each truth.
        ImportError: if pycocotools is not installed.
    """
    check_masks((found, there, crowds), kind, 0)
    if areas is not None and len(areas) != len(there):
        raise ValueError(
            f"expected an area for each of {len(there)} truths, received {len(areas)}."
        )
    truths = make_entries(there, 0, kind)
    for entry, area in zip(truths, areas or (), strict=False):
        entry["area"] = area
    regions = [{**entry, "iscrowd": 1} for entry in make_entries(crowds, 0, kind)]
    labels = sorted({*found.labels, *there.labels, *crowds.labels})
    if not labels:
        return {}
    numbers = {label: i for i, label in enumerate(labels)}

    def numbered(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"iscrowd": 0, **entry, "category_id": numbers[entry["label"]], "id": i}
            for i, entry in enumerate(entries, start=1)
        ]

    evaluation = match(
        numbered(make_entries(found, 0, kind)),
        numbered(truths + regions),
        [{"id": i, "name": label} for label, i in numbers.items()],
        1,
        kind,
    )
    # By label, then by area, as there is one picture.
    parts = iter(evaluation.evalImgs)
    return {label: _summary([next(parts) for _ in AREAS]) for label in labels}


def _summary(parts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return what `match_picture` has of a label, whose areas are given."""
    # bool[areas, thresholds, detections]
    matched = np.stack([part["dtMatches"] > 0 for part in parts])
    ignored = np.stack([part["dtIgnore"] > 0 for part in parts])
    return {
        "scores": list(map(float, parts[0]["dtScores"])),
        "matched": _pack(matched),
        "ignored": _pack(ignored),
        "num_truths": [int(np.sum(part["gtIgnore"] == 0)) for part in parts],
    }


def _pack(bits: np.ndarray) -> list[int]:
    rows = bits.reshape(len(AREAS) * NUM_THRESHOLDS, -1).astype(np.int64)
    packed: list[int] = np.sum(rows << np.arange(len(rows))[:, None], axis=0).tolist()
    return packed


def unpack(integers: np.ndarray, area: int) -> np.ndarray:
    """Return bool[T, D] of int64[D] as `match_picture` has them, of an area."""
    shifts = NUM_THRESHOLDS * area + np.arange(NUM_THRESHOLDS)
    return (integers >> shifts[:, None]) & 1 == 1
