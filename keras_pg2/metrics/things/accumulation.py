"""Average precision of matched pictures, each counted as often as it is drawn.

As pycocotools accumulates (`COCOeval.accumulate`, `summarize`): detections of a label
in all pictures by falling score, of equal ones those of earlier pictures first;
precision made falling; its mean over 101 recalls; nothing where there is no truth.
Copies of a detection follow one another, so that a draw of every picture thrice has the
figures of all pictures.

Axes: T thresholds, R recalls, K labels, D detections of a label, N pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_pg2.metrics.things.matching import AREAS, NUM_THRESHOLDS, unpack

RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class LabelTable:
    """Detections of one label in all pictures.

    Attributes:
        pictures: int64[D], index of the picture of each.
        matched: int64[D], as `match_picture` has it.
        ignored: int64[D], likewise.
        truth_pictures: int64[M], pictures that have truths of the label.
        num_truths: int64[M, areas], how many they have.
    """

    pictures: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    truth_pictures: np.ndarray
    num_truths: np.ndarray


def tabulate(
    rows: Sequence[Mapping[str, Mapping[str, list[Any]]]],
) -> dict[str, LabelTable]:
    """Return a table of each label.

    Args:
        rows: N times what `match_picture` returns.
    """
    parts: dict[str, list[tuple[int, Mapping[str, list[Any]]]]] = {}
    for i, row in enumerate(rows):
        for label, part in row.items():
            parts.setdefault(label, []).append((i, part))
    tables = {}
    for label, own in sorted(parts.items()):
        lengths = [len(part["scores"]) for _, part in own]
        scores, matched, ignored = (
            np.array([value for _, part in own for value in part[name]], dtype)
            for name, dtype in (
                ("scores", np.float64),
                ("matched", np.int64),
                ("ignored", np.int64),
            )
        )
        pictures = np.repeat([i for i, _ in own], lengths)
        order = np.argsort(-scores, kind="stable")
        has_truth = [
            (i, part["num_truths"]) for i, part in own if part["num_truths"][0]
        ]
        tables[label] = LabelTable(
            pictures=pictures[order],
            matched=matched[order],
            ignored=ignored[order],
            truth_pictures=np.array([i for i, _ in has_truth], np.int64),
            num_truths=np.array([n for _, n in has_truth], np.int64).reshape(
                -1, len(AREAS)
            ),
        )
    return tables


def precisions(
    table: LabelTable, area: int, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return precision float64[T, R] at `RECALLS` and recall float64[T] of a label.

    Args:
        table: Of the label.
        area: Index of `AREAS`.
        counts: int64[N], how often each picture counts.

    Returns:
        None where there is no truth.
    """
    num_truths = int(table.num_truths[:, area] @ counts[table.truth_pictures])
    if num_truths == 0:
        return None
    index = np.flatnonzero(counts[table.pictures])
    weights = counts[table.pictures[index]]
    matched = unpack(table.matched[index], area)
    ignored = unpack(table.ignored[index], area)
    right = np.cumsum(weights * (matched & ~ignored), axis=1)
    wrong = np.cumsum(weights * (~matched & ~ignored), axis=1)
    precision = np.zeros((NUM_THRESHOLDS, len(RECALLS)))
    if not len(weights):
        return precision, np.zeros(NUM_THRESHOLDS)
    recall = right / num_truths
    at_each = right / (wrong + right + np.spacing(1))
    falling = np.maximum.accumulate(at_each[:, ::-1], axis=1)[:, ::-1]
    for t in range(NUM_THRESHOLDS):
        first = np.searchsorted(recall[t], RECALLS, side="left")
        reached = first < len(weights)
        precision[t, reached] = falling[t, first[reached]]
    return precision, recall[:, -1]


def figures(
    tables: Mapping[str, LabelTable], counts: np.ndarray, has_areas: bool
) -> dict[str, float]:
    """Return AP and its parts, NaN where there is no truth of the kind.

    Args:
        tables: Of each label.
        counts: int64[N], how often each picture counts.
        has_areas: Whether the size of things in pixels means anything.

    Returns:
        "ap", "ap50", "ap75"; "ap_small", "ap_medium", "ap_large" where there are areas;
        "ar100"; "ap/LABEL" of each label that a truth has.
    """
    by_area = []
    for area in range(len(AREAS) if has_areas else 1):
        found = [precisions(table, area, counts) for table in tables.values()]
        by_area.append(found)
    result = {}
    # float64[T, R, K] of labels with truths.
    whole = _stack([part[0] for part in by_area[0] if part is not None])
    result["ap"], result["ap50"], result["ap75"] = map(
        _mean, (whole, whole[0], whole[5])
    )
    for name, found in zip(AREAS[1:], by_area[1:]):
        own = _stack([part[0] for part in found if part is not None])
        result[f"ap_{name}"] = _mean(own)
    result["ar100"] = _mean(_stack([p[1] for p in by_area[0] if p is not None]))
    for label, part in zip(tables, by_area[0]):
        if part is not None:
            result[f"ap/{label}"] = _mean(part[0])
    return result


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """Return the parts along a last axis; float64[T, 0] of none."""
    return np.stack(parts, -1) if parts else np.zeros((NUM_THRESHOLDS, 0))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan
