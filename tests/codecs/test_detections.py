from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_pg2.codecs import Detections, box_iou

BOXES = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 10, 9]], np.float32)


def three(**parts) -> Detections:
    return Detections(("a", "a", "b"), BOXES, **parts)


def test_overlaps_by_hand():
    # Shared 5 x 10 of 10 x 10 + 10 x 10; 10 x 9 of 100 + 90; 5 x 9 of 100 + 90.
    expected = [[1, 50 / 150, 0.9], [50 / 150, 1, 45 / 145], [0.9, 45 / 145, 1]]
    np.testing.assert_allclose(box_iou(BOXES, BOXES), expected)
    empty = np.zeros((1, 4))
    assert box_iou(empty, empty) == 0


def test_rows_are_taken_with_all_their_parts():
    masks = np.zeros((3, 4, 4), bool)
    masks[2] = True
    found = three(masks=masks, scores=np.array([0.1, 0.2, 0.3]), tokens=("x", "y", "z"))
    part = found.take([2, 0])
    assert part.labels == ("b", "a")
    assert part.tokens == ("z", "x")
    assert part.scores.tolist() == [0.3, 0.1]
    assert part.masks[0].all()
    assert not part.masks[1].any()
    assert found.take(found.scores > 0.15).labels == ("a", "b")
    assert len(found.take([])) == 0
    with pytest.raises(ValueError, match="3 booleans"):
        found.take([True])
    with pytest.raises(IndexError):
        found.take([3])
    with pytest.raises(TypeError, match="float64"):
        found.take(found.scores)


def test_of_duplicates_the_best_of_each_label_stays():
    scores = np.array([0.5, 0.9, 0.1])
    # IoU of the two of label a is 1 / 3; b is another label.
    assert three(scores=scores).without_duplicates(0.4).labels == ("a", "a", "b")
    kept = three(scores=scores).without_duplicates(0.3)
    assert kept.scores.tolist() == [0.9, 0.1]
    # Without scores the first is the best.
    np.testing.assert_array_equal(
        three().without_duplicates(0.3).boxes_xyxy[0], BOXES[0]
    )
    with pytest.raises(ValueError, match="max_iou"):
        three().without_duplicates(1.5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"scores": np.zeros(2)}, r"scores of shape \(3,\)"),
        ({"masks": np.zeros((2, 4, 4), bool)}, r"bool\[3, height, width\]"),
        ({"masks": np.zeros((3, 4, 4))}, "float64"),
        ({"tokens": ("x",)}, "tokens of 3 instances"),
        ({"scores": np.array([0, 1.5, 0])}, r"\[0, 1\]"),
        ({"scores": np.array([0, np.nan, 0])}, r"\[0, 1\]"),
    ],
)
def test_parts_of_other_lengths_are_told(parts, message):
    with pytest.raises(ValueError, match=message):
        three(**parts)
    with pytest.raises(ValueError, match="boxes_xyxy"):
        Detections(("a",), BOXES)


def test_parts_of_one_picture_are_put_together():
    whole = Detections(
        ("a", "b", "a"),
        np.arange(12, dtype=np.float32).reshape(3, 4),
        masks=np.arange(12).reshape(3, 2, 2) % 2 == 0,
        scores=np.array([0.5, 0.1, 0.9], np.float32),
        tokens=("x", "y", "z"),
    )
    again = Detections.concatenate([whole.take([0]), whole.take([1, 2])])
    assert (again.labels, again.tokens) == (whole.labels, whole.tokens)
    for name in ("boxes_xyxy", "masks", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    with pytest.raises(ValueError, match="masks in all parts"):
        Detections.concatenate([whole, replace(whole, masks=None)])
    with pytest.raises(ValueError, match="received none"):
        Detections.concatenate([])
