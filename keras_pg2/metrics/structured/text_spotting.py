"""Words found and read in pictures, by HierText's protocol.

Source: github.com/google-research-datasets/hiertext, `evaluator/evaluator.py`, which
PaliGemma 2 follows for ICDAR 2015 and Total-Text (arXiv:2412.03555, section 4.2). A
word is found if its outline and that of a truth have an IoU of 0.5 or more and each is
the other's best; it is read if its text is the truth's too, letter by letter, with case
and punctuation. A word of which half or more lies inside of an illegible one is left
out. An answer's outlines are boxes; polygons whose sides cross are made valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.codecs.detections import Detections
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    weights,
)
from keras_pg2.metrics.things.reading import read_answer, read_truth

_ADVICE = "Run: pip install 'keras-pg2[evaluation]'"
_EPSILON = 1e-5
"""Square pixels added to areas that are divided by, as in the source."""

_KEYS = ("num_truths", "num_given", "num_read", "num_found", "iou_read", "iou_found")


@dataclass(frozen=True, kw_only=True)
class TextSpotting(PreparedMetric):
    """F1 of words that are found and read.

    The truth's `things` are boxes with the words as labels, or the only text has them.
    Of its `details` it reads "polygons", for each word its corners [[x, y], ...] or
    None for the box, and "ignored", for each whether it is illegible.
    Answers are boxes with words, `<loc....>` x 4 and the word, joined by " ; ".
    """

    name: str = "text_spotting"
    meaning: str = "F1 of words found at IoU 0.5 and read letter by letter"
    source: str = (
        "HierText `evaluator/evaluator.py`; PaliGemma 2, arXiv:2412.03555, section 4.2"
    )
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if shapely is not installed."""
        import_packages("shapely", advice=_ADVICE)

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return how many words are there, found and read, and their sums of IoU.

        Raises:
            ValueError: if the truth has no words, or details are not one for each word
                or no polygons.
        """
        there = read_truth(truth)
        polygons = truth.details.get("polygons", [None] * len(there))
        ignored = truth.details.get("ignored", [False] * len(there))
        if not len(polygons) == len(ignored) == len(there):
            raise ValueError(
                f"expected a polygon and a mark for each of {len(there)} words, "
                f"received {len(polygons)} and {len(ignored)}."
            )
        found = read_answer(answer, truth)
        return _match(
            outlines(found, [None] * len(found)),
            found.labels,
            outlines(there, polygons),
            there.labels,
            np.array(ignored, bool),
        )

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the F1 score of each picture.

        NaN where there is no word and none is given.
        """
        return np.array(
            [
                _f1(row["num_read"], row["num_truths"], row["num_given"])[2]
                if row["num_truths"] + row["num_given"]
                else float("nan")
                for row in rows
            ]
        )

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to F1, precision and recall of words read, found.

        "tightness" is the mean IoU of those, and "pq" tightness by F1.
        """
        columns = {key: column(rows, key) for key in _KEYS}

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(rows))
            sums = {key: float(own @ drawn) for key, own in columns.items()}
            found: dict[str, float] = {}
            for name, key in ((self.name, "read"), ("detection", "found")):
                number = sums[f"num_{key}"]
                shares = _f1(number, sums["num_truths"], sums["num_given"])
                precision, recall, f1 = shares
                tightness = sums[f"iou_{key}"] / number if number else 1.0
                found |= {
                    name: f1,
                    f"{name}_precision": precision,
                    f"{name}_recall": recall,
                    f"{name}_tightness": tightness,
                    f"{name}_pq": tightness * f1,
                }
            return found

        return figures


def outlines(words: Detections, polygons: Sequence[Any]) -> np.ndarray:
    """Return object[N] of shapely's polygons, valid and maybe empty.

    Args:
        words: N boxes.
        polygons: N times corners [[x, y], ...] in pixels, or None for the box.

    Raises:
        ValueError: if a polygon is not of three or more corners.
    """
    import shapely

    shapes: list[Any] = []
    for box, corners in zip(words.boxes_xyxy, polygons):
        if corners is None:
            shapes.append(shapely.box(*map(float, box)))
            continue
        points = np.asarray(corners, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(
                "expected a polygon as three or more corners [x, y], received an array "
                f"of shape {points.shape}."
            )
        if not np.isfinite(points).all():
            raise ValueError("expected finite corners of polygons, received NaN.")
        shapes.append(shapely.Polygon(points))
    found = np.array(shapes, object)
    invalid = ~shapely.is_valid(found) if len(found) else np.zeros(0, bool)
    found[invalid] = shapely.make_valid(found[invalid])
    return found


def _match(
    given: np.ndarray,
    given_texts: Sequence[str],
    there: np.ndarray,
    texts: Sequence[str],
    ignored: np.ndarray,
) -> dict[str, Any]:
    """Return the statistics of a picture."""
    import shapely

    shared = shapely.area(shapely.intersection(given[:, None], there[None]))
    areas = shapely.area(given)
    if ignored.any():
        inside = shared[:, ignored] / (areas[:, None] + _EPSILON)
        is_kept = inside.max(axis=1) < 0.5
    else:
        is_kept = np.ones(len(given), bool)
    kept = np.flatnonzero(is_kept)
    legible = np.flatnonzero(~ignored)
    shared = shared[np.ix_(kept, legible)]
    united = areas[kept][:, None] + shapely.area(there[legible])[None] - shared
    ious = shared / (united + _EPSILON)
    found = read = 0
    iou_found = iou_read = 0.0
    if ious.size:
        best_given, best_truth = ious.argmax(axis=0), ious.argmax(axis=1)
        for truth, chosen in enumerate(best_given.tolist()):
            iou = float(ious[chosen, truth])
            if iou < 0.5 or best_truth[chosen] != truth:
                continue
            found, iou_found = found + 1, iou_found + iou
            if given_texts[kept[chosen]] == texts[legible[truth]]:
                read, iou_read = read + 1, iou_read + iou
    return {
        "num_truths": len(legible),
        "num_given": len(kept),
        "num_found": found,
        "num_read": read,
        "iou_found": iou_found,
        "iou_read": iou_read,
    }


def _f1(right: float, truths: float, given: float) -> tuple[float, float, float]:
    """Return precision, recall and F1; shares of nothing are 1, as in the source."""
    precision = right / given if given else 1.0
    recall = right / truths if truths else 1.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


METRICS = (TextSpotting(),)
