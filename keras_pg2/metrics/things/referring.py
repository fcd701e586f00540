"""Masks and boxes of referring expressions (RefCOCO), as metrics.

The rules are those of `metrics.segmentation`, which reads answers as big_vision does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pg2.codecs.detections import Detections, box_iou
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    weights,
    with_kinds,
)
from keras_pg2.metrics.segmentation import (
    DecodeCrops,
    read_referring_answers,
    score_expression,
)
from keras_pg2.metrics.things.reading import read_answer, read_truth


@dataclass(frozen=True, kw_only=True)
class MaskIou(PreparedMetric):
    """Mean IoU of masks of the picture's size; 0 for an answer without a mask.

    The truth's `things` is one instance with a mask. Answers are read from their text
    where the decoder of mask tokens is given, as PaliGemma was evaluated; otherwise
    their first thing counts, whose mask has the picture's size.

    Attributes:
        decode_crops: The decoder, int32[B, 16] in 0..127 to float[B, 64, 64], positive
            inside the mask; None takes the things of answers.
    """

    decode_crops: DecodeCrops | None = None
    name: str = "mask_iou"
    meaning: str = "mean IoU of masks at the picture's own size, 0 for no valid mask"
    source: str = (
        "big_vision `evaluators/proj/paligemma/transfers/segmentation.py`; "
        "overall_iou is of other papers on RefCOCO"
    )
    is_higher_better: bool = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return shared and united pixels, and the IoU of the boxes.

        Raises:
            ValueError: if the truth is not one instance with a mask, the answer's mask
                is of another size, or there are neither things nor a decoder.
        """
        if truth.things is None:
            raise ValueError("expected one instance with a mask, received no things.")
        found = self._read(answer, truth.things)
        one = score_expression(found, truth.things, 0)
        return {
            "shared": one.shared,
            "united": one.united,
            "box_iou": one.box_iou,
            "is_valid": one.is_valid,
            "kind": truth.kind,
        }

    def _read(self, answer: Answer, there: Detections) -> Detections | None:
        if self.decode_crops is not None and there.masks is not None:
            height, width = there.masks.shape[1:]
            [found] = read_referring_answers(
                [answer.text], [(width, height)], self.decode_crops
            )
            return found
        if answer.things is None:
            raise ValueError(
                "expected the answer's masks, received its text alone. Give the metric "
                "`decode_crops`, or segment with the model's mask codec."
            )
        return answer.things.take([0]) if len(answer.things) else None

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the IoU of each mask."""
        return column(rows, "shared") / column(rows, "united")

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to what is reported of RefCOCO.

        "overall_iou" is all shared by all united pixels, "box_accuracy_50" and
        "box_accuracy_75" the share of boxes of that IoU or more, "valid" the share of
        answers with a mask. Then come the mean IoU of each kind.
        """
        shared, united = column(rows, "shared"), column(rows, "united")
        ious, box_ious = self.scores(rows), column(rows, "box_iou")
        is_valid = column(rows, "is_valid")
        kinds = Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(rows))
            means = {
                self.name: mean(ious, counts),
                "overall_iou": float(drawn @ shared / (drawn @ united)),
                "box_accuracy_50": mean(box_ious >= 0.5, counts),
                "box_accuracy_75": mean(box_ious >= 0.75, counts),
                "valid": mean(is_valid, counts),
            }
            return with_kinds(means, kinds.means(ious, counts))

        return figures


@dataclass(frozen=True, kw_only=True)
class BoxAccuracy(PreparedMetric):
    """Share of boxes of referring expressions with an IoU of 0.5 or more.

    The truth is one box, and the first box of an answer counts.
    """

    name: str = "box_accuracy"
    meaning: str = "share of boxes with an IoU of 0.5 or more"
    source: str = (
        "Yu et al. 2016, arXiv:1608.00272 (referring expression comprehension)"
    )
    is_higher_better: bool = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the IoU of the boxes, 0 where the answer has none.

        Raises:
            ValueError: if the truth is not one box.
        """
        there = read_truth(truth)
        if len(there) != 1:
            raise ValueError(f"expected one box as truth, received {len(there)}.")
        found = read_answer(answer, truth)
        iou = 0.0
        if len(found):
            iou = float(box_iou(found.boxes_xyxy[:1], there.boxes_xyxy)[0, 0])
        return {"box_iou": iou, "is_valid": len(found) > 0, "kind": truth.kind}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], 1.0 for an IoU of 0.5 or more."""
        return (column(rows, "box_iou") >= 0.5).astype(np.float64)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to shares of boxes.

        "box_accuracy_75" is the share at IoU 0.75, "box_iou" the mean IoU, "valid" the
        share of answers with a box. Then comes the accuracy of each kind.
        """
        ious, is_right = column(rows, "box_iou"), self.scores(rows)
        is_valid = column(rows, "is_valid")
        kinds = Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            means = {
                self.name: mean(is_right, counts),
                "box_accuracy_75": mean(ious >= 0.75, counts),
                "box_iou": mean(ious, counts),
                "valid": mean(is_valid, counts),
            }
            return with_kinds(means, kinds.means(is_right, counts))

        return figures


METRICS = (MaskIou(), BoxAccuracy())
