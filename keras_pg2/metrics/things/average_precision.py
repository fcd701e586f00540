"""Average precision of boxes and masks, as a metric whose pictures are matched once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.metrics.detection import Kind, import_evaluator
from keras_pg2.metrics.metric import Answer, Figures, PreparedMetric, Statistics, Truth
from keras_pg2.metrics.things import accumulation
from keras_pg2.metrics.things.matching import match_picture, unpack
from keras_pg2.metrics.things.reading import read_scored_answer, read_truth


@dataclass(frozen=True, kw_only=True)
class CocoAveragePrecision(PreparedMetric):
    """COCO's average precision.

    The truth's `things` are what is to be found, or the boxes of its only text; the
    answer's `things` have scores, or all boxes are as sure as the answer's tokens are
    probable. Of the truth's `details` it reads "crowds", `Detections` of regions of
    many instances, and "areas", for each of the things its area in pixels, where it is
    not that of the box or mask.

    Attributes:
        name: As for `Metric`, one of the figures' names or another for "ap".
        meaning: As for `Metric`.
        kind: Compare boxes or masks.
        main: The figure that comes first, under `name`.
        has_areas: Whether sizes are in pixels of the picture, so that small and large
            mean anything.
    """

    name: str
    meaning: str
    kind: Kind
    main: str = "ap"
    has_areas: bool = True
    source: str = "cocodataset.org/#detection-eval, pycocotools `COCOeval`"
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if pycocotools is not installed."""
        import_evaluator()

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the scores and matches of a picture by label.

        Raises:
            ValueError: if the truth has no things, the answer has things and neither
                scores nor a probability, or masks are missing.
        """
        there = read_truth(truth)
        crowds = truth.details.get("crowds", there.take([]))
        if not isinstance(crowds, Detections):
            raise ValueError(
                f"expected crowds as things, received {type(crowds).__name__}."
            )
        labels = match_picture(
            read_scored_answer(answer, truth),
            there,
            crowds,
            truth.details.get("areas"),
            self.kind,
        )
        return {"labels": labels}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the F1 score of each picture at IoU 0.5.

        All detections count, whatever their scores. NaN where nothing is to be found
        and nothing is found: one picture alone has no average precision.
        """
        return np.array([_f1(row["labels"]) for row in rows], np.float64)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to AP, its parts and that of each label.

        "ap" is the mean over labels and over IoU 0.50, 0.55, ..., 0.95. A figure is NaN
        where nothing of the kind is there.
        """
        tables = _tables(rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            found = accumulation.figures(tables, _counts(rows, counts), self.has_areas)
            return {self.name: found[self.main], **found}

        return figures


class Curve(NamedTuple):
    """Precision of a label at falling scores.

    recall: float64[101], 0.00, 0.01, ..., 1.00.
    precision: float64[101] in [0, 1], made falling; 0 where the recall is not reached.
    """

    recall: np.ndarray
    precision: np.ndarray


def precision_recall_curves(
    rows: Sequence[Statistics],
    iou: float = 0.5,
    counts: np.ndarray | None = None,
) -> dict[str, Curve]:
    """Return the curve of each label that a truth has.

    Args:
        rows: N statistics of `CocoAveragePrecision`.
        iou: Threshold, one of 0.50, 0.55, ..., 0.95.
        counts: int[N], how often each counts; None for once.

    Raises:
        ValueError: if there are no statistics for the threshold.
    """
    threshold = round((iou - 0.5) / 0.05)
    if not 0 <= threshold < 10 or abs(0.5 + 0.05 * threshold - iou) > 1e-9:
        raise ValueError(f"Expected iou of 0.50, 0.55, ..., 0.95, received {iou}.")
    curves = {}
    for label, table in _tables(rows).items():
        found = accumulation.precisions(table, 0, _counts(rows, counts))
        if found is not None:
            curves[label] = Curve(accumulation.RECALLS, found[0][threshold])
    return curves


def _tables(rows: Sequence[Statistics]) -> dict[str, accumulation.LabelTable]:
    return accumulation.tabulate([row["labels"] for row in rows])


def _counts(rows: Sequence[Any], counts: np.ndarray | None) -> np.ndarray:
    if counts is None:
        return np.ones(len(rows), np.int64)
    return np.asarray(counts, np.int64)


def _f1(labels: Mapping[str, Mapping[str, list[Any]]]) -> float:
    right = total = 0
    for part in labels.values():
        matched = unpack(np.array(part["matched"], np.int64), 0)[0]
        ignored = unpack(np.array(part["ignored"], np.int64), 0)[0]
        right += int((matched & ~ignored).sum())
        total += part["num_truths"][0] + int((~ignored).sum())
    return 2 * right / total if total else float("nan")


METRICS = (
    CocoAveragePrecision(
        name="coco_ap",
        meaning="COCO's average precision of boxes",
        kind="boxes",
    ),
    CocoAveragePrecision(
        name="coco_ap_masks",
        meaning="COCO's average precision of masks",
        kind="masks",
    ),
    CocoAveragePrecision(
        name="ap50",
        meaning="average precision of boxes at IoU 0.5",
        kind="boxes",
        main="ap50",
        has_areas=False,
    ),
)
