"""Average precision of detections, computed by pycocotools.

COCO's definition (cocodataset.org/#detection-eval): AP is the mean over labels and
over the IoU thresholds 0.50, 0.55, ..., 0.95; small is below 32^2 pixels, medium up to
96^2, large above; at most the 100 best detections of a picture and label count.

Axes: N pictures.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from keras_pg2.codecs.annotations import mask_to_rle
from keras_pg2.codecs.detections import Detections

Kind: TypeAlias = Literal["boxes", "masks"]


class AveragePrecision(NamedTuple):
    """Scores in [0, 1]; NaN where no truth is of that kind.

    ap: mean over labels and thresholds.
    ap50: at IoU 0.5.
    ap75: at IoU 0.75.
    ap_small: of truths below 32^2 pixels.
    ap_medium: of truths in 32^2..96^2 pixels.
    ap_large: of truths above.
    ar100: average recall with up to 100 detections of a picture and label.
    ap_by_label: ap of each label that a truth has.
    num_truths: without crowd regions.
    num_predictions: of all labels.
    unknown_labels: how many predictions have a label that no truth has. They count as
        no error, as in COCO, where there is no recall of such a label.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar100: float
    ap_by_label: Mapping[str, float]
    num_truths: int
    num_predictions: int
    unknown_labels: Mapping[str, int]


def coco_average_precision(
    predictions: Sequence[Detections],
    truths: Sequence[Detections],
    kind: Kind = "boxes",
    crowds: Sequence[Detections] | None = None,
) -> AveragePrecision:
    """Scores detections against what is in the pictures.

    Labels are compared as texts, letter for letter.

    Args:
        predictions: N, one per picture, with scores.
        truths: N, what is there, in the same pixels.
        kind: compare boxes or masks. It decides about small and large too: the area is
            that of the box or that of the mask.
        crowds: N, regions of many instances; detections inside of one are forgiven.

    Raises:
        ValueError: when the counts differ, scores or masks are missing, a score is not
            finite, or masks of one picture have several sizes; names the picture.
        ImportError: when pycocotools is not installed.
    """
    if kind not in ("boxes", "masks"):
        raise ValueError(f"Expected kind 'boxes' or 'masks', received {kind!r}.")
    if crowds is None:
        crowds = [truth.take([]) for truth in truths]
    if not len(predictions) == len(truths) == len(crowds):
        raise ValueError(
            "Expected one prediction per picture, received "
            f"{len(predictions)} predictions, {len(truths)} truths and "
            f"{len(crowds)} crowds."
        )
    for i, prediction in enumerate(predictions):
        if prediction.scores is None and len(prediction):
            raise ValueError(
                f"Expected scores in predictions, received none in picture {i}. "
                "Average precision ranks detections by how sure the model is; ask for "
                "scores where the model answers."
            )
        check_masks((prediction, truths[i], crowds[i]), kind, i)
    labels = {label for part in (*truths, *crowds) for label in part.labels}
    found = [make_entries(p, i, kind) for i, p in enumerate(predictions)]
    there = [make_entries(p, i, kind) for i, p in enumerate(truths)]
    there += [
        [{**entry, "iscrowd": 1} for entry in make_entries(p, i, kind)]
        for i, p in enumerate(crowds)
    ]
    return evaluate_entries(
        [entry for part in found for entry in part],
        [entry for part in there for entry in part],
        labels,
        len(truths),
        kind,
    )


def evaluate_entries(
    predictions: Sequence[Mapping[str, Any]],
    truths: Sequence[Mapping[str, Any]],
    labels: set[str],
    num_images: int,
    kind: Kind,
) -> AveragePrecision:
    """Runs pycocotools.

    Args:
        predictions: entries with "image_id" in 0..num_images-1, "label", "area", "bbox"
            (x, y, width, height) or "segmentation" (compressed run lengths), "score".
        truths: the same, "iscrowd" instead of "score".
        labels: the labels that count.
        num_images: how many pictures there are.
        kind: compare boxes or masks.

    Raises:
        ImportError: when pycocotools is not installed.
    """
    names = sorted(labels)
    category_ids = {label: i for i, label in enumerate(names)}
    unknown = Counter(p["label"] for p in predictions if p["label"] not in labels)
    categories = [{"id": i, "name": label} for label, i in category_ids.items()]

    def numbered(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        # From 1: pycocotools takes a match with a truth of id 0 for none.
        known = (entry for entry in entries if entry["label"] in labels)
        return [
            {
                "iscrowd": 0,
                **entry,
                "category_id": category_ids[entry["label"]],
                "id": i,
            }
            for i, entry in enumerate(known, start=1)
        ]

    evaluation = _run_pycocotools(
        numbered(predictions), numbered(truths), categories, num_images, kind
    )
    # float64[thresholds, recalls, labels, areas, numbers of detections]; the areas are
    # all, small, medium, large, the numbers 1, 10, 100; -1 where there is no truth.
    precision, recall = evaluation["precision"], evaluation["recall"]
    return AveragePrecision(
        ap=_mean(precision[:, :, :, 0, -1]),
        ap50=_mean(precision[0, :, :, 0, -1]),
        ap75=_mean(precision[5, :, :, 0, -1]),
        ap_small=_mean(precision[:, :, :, 1, -1]),
        ap_medium=_mean(precision[:, :, :, 2, -1]),
        ap_large=_mean(precision[:, :, :, 3, -1]),
        ar100=_mean(recall[:, :, 0, -1]),
        ap_by_label={
            label: _mean(precision[:, :, i, 0, -1])
            for i, label in enumerate(names)
            if (precision[:, :, i, 0, -1] > -1).any()
        },
        num_truths=sum(not entry.get("iscrowd") for entry in truths),
        num_predictions=len(predictions),
        unknown_labels=dict(unknown),
    )


def _run_pycocotools(
    predictions: list[dict[str, Any]],
    truths: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    num_images: int,
    kind: Kind,
) -> Mapping[str, np.ndarray]:
    import_evaluator()
    if not (categories and num_images):
        nothing = -np.ones((10, 101, 0, 4, 3))
        return {"precision": nothing, "recall": nothing[:, 0]}
    evaluation = match(predictions, truths, categories, num_images, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    result: Mapping[str, np.ndarray] = evaluation.eval
    return result


def import_evaluator() -> tuple[Any, Any]:
    """Return the classes `COCO` and `COCOeval` of pycocotools.

    Raises:
        ImportError: if pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError(
            "Expected pycocotools for average precision. Run "
            "`pip install 'keras-pg2[detection]'`."
        ) from error
    return COCO, COCOeval


def match(
    predictions: list[dict[str, Any]],
    truths: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    num_images: int,
    kind: Kind,
) -> Any:
    """Return a `COCOeval` that has matched detections with truths.

    Args:
        predictions: as for `evaluate_entries`, with "category_id" and "id".
        truths: likewise; ids from 1, as a match with a truth of id 0 is taken for none.
        categories: ids and names.
        num_images: how many pictures there are.
        kind: compare boxes or masks.

    Raises:
        ImportError: if pycocotools is not installed.
    """
    COCO, COCOeval = import_evaluator()  # noqa: N806
    # It tells of each step on the standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        tables = []
        for entries in (truths, predictions):
            table = COCO()
            table.dataset = {
                "images": [{"id": i} for i in range(num_images)],
                "categories": categories,
                "annotations": entries,
            }
            table.createIndex()
            tables.append(table)
        # Run lengths are made already, so nobody needs the size of the pictures.
        for table in tables:
            table.annToRLE = lambda entry: entry["segmentation"]
        evaluation = COCOeval(*tables, "bbox" if kind == "boxes" else "segm")
        evaluation.evaluate()
    return evaluation


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


def check_masks(parts: Sequence[Detections], kind: Kind, index: int) -> None:
    """Check predictions, truths and crowds of a picture.

    Raises:
        ValueError: if a score is not finite, or masks are missing or of several sizes;
            names the picture by its index.
    """
    scores = parts[0].scores
    if scores is not None and not np.isfinite(scores).all():
        raise ValueError(
            f"Expected finite scores, received {scores.tolist()} in picture {index}."
        )
    if kind == "boxes":
        return
    sizes = {part.masks.shape[1:] for part in parts if part.masks is not None and part}
    if any(part.masks is None and len(part) for part in parts):
        raise ValueError(
            f"Expected masks in predictions and truths, received none in picture "
            f"{index}. Compare kind='boxes', or decode the masks first."
        )
    if len(sizes) > 1:
        raise ValueError(
            "Expected masks of the size of the picture, received several sizes in "
            f"picture {index}: {sorted(sizes)}."
        )


def make_entries(part: Detections, index: int, kind: Kind) -> list[dict[str, Any]]:
    """Return the entries of a picture, as `evaluate_entries` takes them.

    Args:
        part: predictions or truths of the picture.
        index: of the picture.
        kind: take boxes or masks.
    """
    entries = []
    for i, label in enumerate(part.labels):
        entry: dict[str, Any] = {"image_id": index, "label": label}
        if kind == "masks" and part.masks is not None:
            entry["segmentation"] = mask_to_rle(part.masks[i])
            entry["area"] = int(part.masks[i].sum())
        else:
            x1, y1, x2, y2 = part.boxes_xyxy[i].tolist()
            entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            entry["area"] = (x2 - x1) * (y2 - y1)
        if part.scores is not None:
            entry["score"] = float(part.scores[i])
        entries.append(entry)
    return entries
