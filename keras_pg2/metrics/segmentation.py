"""Boxes and masks of referring expressions (RefCOCO), scored as PaliGemma was.

Source: big_vision `evaluators/proj/paligemma/transfers/segmentation.py`. It reads the
first twenty tokens of an answer, four of location and sixteen of a segment, and
ignores what follows. Another answer, or a box with y2 <= y1 or x2 <= x1, is invalid:
its mask and its box have IoU 0. Boxes are compared as they were decoded; for the mask
the corners are cut to whole pixels (not rounded), and a box that has no pixel left is
invalid too, though it still counts as a box. Masks are compared in the size of the
picture.

The overall IoU is not from there: other papers on RefCOCO report it (sum of all shared
pixels by sum of all united ones), and it favours large things.

Axes: N expressions, H and W height and width of a picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from keras_pg2.codecs.detections import Detections, box_iou
from keras_pg2.codecs.location_tokens import NUM_BINS
from keras_pg2.codecs.segment_tokens import NUM_CODES

# int32[B, 16] in 0..127 -> float[B, 64, 64], positive inside the mask.
DecodeCrops: TypeAlias = Callable[[np.ndarray], np.ndarray]

_ANSWER = re.compile(r"((?:<loc\d{4}>){4})((?:<seg\d{3}>){16})")
_NUMBER = re.compile(r"\d+")
_BATCH_SIZE = 64


class ReferringScores(NamedTuple):
    """Scores in [0, 1] over all expressions.

    mean_iou: mean of the IoU of the masks.
    overall_iou: all shared pixels by all united pixels.
    box_accuracy_50: how many boxes have an IoU of 0.5 or more.
    box_accuracy_75: likewise 0.75.
    num_invalid: answers without a mask.
    num_expressions: N.
    """

    mean_iou: float
    overall_iou: float
    box_accuracy_50: float
    box_accuracy_75: float
    num_invalid: int
    num_expressions: int


def read_referring_answers(
    texts: Iterable[str], sizes: Iterable[tuple[int, int]], decode_crops: DecodeCrops
) -> Iterator[Detections | None]:
    """Judges answers, 64 at a time, so that many can pass one by one.

    Args:
        texts: N answers of the model.
        sizes: N times width and height of the picture in pixels.
        decode_crops: the decoder of the mask tokens, int32[B, 16] in 0..127 to
            float[B, 64, 64], positive inside the mask.

    Yields:
        N times one detection with label "", or None where the answer is invalid. Its
        masks are None where its box holds no whole pixel.

    Raises:
        ValueError: when there are more texts than sizes, or fewer.
    """
    batch: list[tuple[list[int] | None, tuple[int, int]]] = []
    for text, size in zip_longest(texts, sizes):
        if text is None or size is None:
            raise ValueError(
                "Expected one size per text, received more "
                f"{'sizes' if text is None else 'texts'}."
            )
        batch.append((_read_tokens(text), size))
        if len(batch) == _BATCH_SIZE:
            yield from _decode(batch, decode_crops)
            batch = []
    yield from _decode(batch, decode_crops)


def referring_scores(
    predictions: Iterable[Detections | None], truths: Iterable[Detections]
) -> ReferringScores:
    """Scores answers against the truth; both may be read one by one.

    Args:
        predictions: N, as `read_referring_answers` gives them: None for an invalid
            answer, otherwise one instance, whose masks may be None.
        truths: N, each one instance with a mask bool[1, H, W] that is not empty.

    Raises:
        ValueError: when there are more predictions than truths or fewer, or none; or
            one is not as above; names its place.
    """
    missing: Any = object()
    scored = []
    pairs = zip_longest(predictions, truths, fillvalue=missing)
    for i, (prediction, truth) in enumerate(pairs):
        if prediction is missing or truth is missing:
            raise ValueError(
                "Expected one prediction per truth, received more "
                f"{'truths' if prediction is missing else 'predictions'} than {i}."
            )
        scored.append(score_expression(prediction, truth, i))
    if not scored:
        raise ValueError("Expected at least one expression, received none.")
    return ReferringScores(
        mean_iou=float(np.mean([one.shared / one.united for one in scored])),
        overall_iou=sum(one.shared for one in scored)
        / sum(one.united for one in scored),
        box_accuracy_50=float(np.mean([one.box_iou >= 0.5 for one in scored])),
        box_accuracy_75=float(np.mean([one.box_iou >= 0.75 for one in scored])),
        num_invalid=sum(not one.is_valid for one in scored),
        num_expressions=len(scored),
    )


class ExpressionScore(NamedTuple):
    """One answer beside its truth.

    shared: pixels of both masks.
    united: pixels of one or both, at least one.
    box_iou: in [0, 1].
    is_valid: whether the answer has a mask.
    """

    shared: int
    united: int
    box_iou: float
    is_valid: bool


def score_expression(
    prediction: Detections | None, truth: Detections, index: int
) -> ExpressionScore:
    """Return how an answer compares with the truth.

    Args:
        prediction: as for `referring_scores`.
        truth: likewise.
        index: which errors name.

    Raises:
        ValueError: if one is not as above.
    """
    expected = _check(prediction, truth, index)
    if prediction is None:
        return ExpressionScore(0, int(expected.sum()), 0.0, False)
    iou = float(box_iou(prediction.boxes_xyxy, truth.boxes_xyxy)[0, 0])
    if prediction.masks is None:
        return ExpressionScore(0, int(expected.sum()), iou, False)
    mask = prediction.masks[0]
    return ExpressionScore(
        shared=int((expected & mask).sum()),
        united=int((expected | mask).sum()),
        box_iou=iou,
        is_valid=True,
    )


def _read_tokens(text: str) -> list[int] | None:
    """Four bins and sixteen codes, None when the answer is invalid."""
    match = _ANSWER.match(text)
    if match is None:
        return None
    bins, codes = ([int(n) for n in _NUMBER.findall(part)] for part in match.groups())
    y1, x1, y2, x2 = bins
    is_valid = max(bins) < NUM_BINS and max(codes) < NUM_CODES and y1 < y2 and x1 < x2
    return bins + codes if is_valid else None


def _decode(
    batch: list[tuple[list[int] | None, tuple[int, int]]], decode_crops: DecodeCrops
) -> Iterator[Detections | None]:
    codes = [tokens[4:] for tokens, _ in batch if tokens is not None]
    crops = iter(decode_crops(np.array(codes, np.int32)) if codes else ())
    for tokens, (width, height) in batch:
        if tokens is None:
            yield None
            continue
        crop = np.asarray(next(crops), np.float32)
        # In float64, or a corner on the edge of a pixel could fall into the one before.
        y1, x1, y2, x2 = np.array(tokens[:4]) / (NUM_BINS - 1)
        box = np.array([[x1 * width, y1 * height, x2 * width, y2 * height]], np.float32)
        top, left, bottom, right = (
            int(y1 * height),
            int(x1 * width),
            int(y2 * height),
            int(x2 * width),
        )
        masks = None
        if top < bottom and left < right:
            plane = Image.fromarray(crop).resize(
                (right - left, bottom - top), Image.Resampling.BILINEAR
            )
            masks = np.zeros((1, height, width), bool)
            masks[0, top:bottom, left:right] = np.asarray(plane) > 0
        yield Detections(("",), box, masks)


def _check(prediction: Detections | None, truth: Detections, index: int) -> np.ndarray:
    """The mask bool[H, W] of the truth, once the pair is sure to fit."""
    if len(truth) != 1 or truth.masks is None or not truth.masks.any():
        raise ValueError(
            f"Expected one instance with a mask that is not empty as truth {index}, "
            f"received {len(truth)}"
            f"{' without masks' if truth.masks is None else ', or an empty mask'}."
        )
    mask: np.ndarray = truth.masks[0]
    if prediction is None:
        return mask
    if len(prediction) != 1:
        raise ValueError(
            f"Expected one instance or None as prediction {index}, received "
            f"{len(prediction)}."
        )
    if prediction.masks is not None and prediction.masks.shape != truth.masks.shape:
        raise ValueError(
            f"Expected a mask of the size {truth.masks.shape[1:]} of the truth as "
            f"prediction {index}, received {prediction.masks.shape[1:]}."
        )
    return mask
