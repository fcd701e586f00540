"""Masks and boxes of referring expressions (RefCOCO), as metrics.

The rules are those of `metrics.segmentation`, which reads answers as big_vision does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_pg2.codecs.detections import Detections, box_iou
from keras_pg2.metrics.metric import Answer, Statistics, Truth, mean, means_by_kind
from keras_pg2.metrics.segmentation import (
    DecodeCrops,
    read_referring_answers,
    score_expression,
)
from keras_pg2.metrics.things.reading import read_answer, read_truth


@dataclass(frozen=True, kw_only=True)
class MaskIou:
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
        return np.array([row["shared"] / row["united"] for row in rows], np.float64)

    def result(
        self, rows: Sequence[Statistics], counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the mean IoU and what else is reported of RefCOCO.

        "overall_iou" is all shared by all united pixels, "box_accuracy_50" and
        "box_accuracy_75" the share of boxes of that IoU or more, "valid" the share of
        answers with a mask.
        """
        weights = np.ones(len(rows)) if counts is None else counts
        shared, united, box_ious = (
            np.array([row[name] for row in rows], np.float64)
            for name in ("shared", "united", "box_iou")
        )
        is_valid = np.array([row["is_valid"] for row in rows])
        all_united = float(weights @ united)
        return {
            self.name: mean(self.scores(rows), counts),
            "overall_iou": float(weights @ shared) / all_united
            if all_united
            else float("nan"),
            "box_accuracy_50": mean(box_ious >= 0.5, counts),
            "box_accuracy_75": mean(box_ious >= 0.75, counts),
            "valid": mean(is_valid, counts),
        } | means_by_kind(self.scores(rows), [row["kind"] for row in rows], counts)


@dataclass(frozen=True, kw_only=True)
class BoxAccuracy:
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
        return (self._ious(rows) >= 0.5).astype(np.float64)

    def _ious(self, rows: Sequence[Statistics]) -> np.ndarray:
        return np.array([row["box_iou"] for row in rows], np.float64)

    def result(
        self, rows: Sequence[Statistics], counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the share at IoU 0.5 and 0.75, the mean IoU, and who has a box."""
        is_valid = np.array([row["is_valid"] for row in rows])
        return {
            self.name: mean(self.scores(rows), counts),
            "box_accuracy_75": mean(self._ious(rows) >= 0.75, counts),
            "box_iou": mean(self._ious(rows), counts),
            "valid": mean(is_valid, counts),
        } | means_by_kind(self.scores(rows), [row["kind"] for row in rows], counts)


METRICS = (MaskIou(), BoxAccuracy())
