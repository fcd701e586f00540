from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_pg2.codecs import Detections, box_iou, draw_detections

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


def test_instances_one_by_one_and_by_index():
    found = three(scores=np.array([0.1, 0.2, 0.3]), tokens=("x", "y", "z"))
    assert [one.labels for one in found] == [("a",), ("a",), ("b",)]
    assert [one.scores.tolist() for one in found] == [[0.1], [0.2], [0.3]]
    for rows, tokens in (
        (0, "x"),
        (-1, "z"),
        (np.int64(1), "y"),
        (slice(1, None), "yz"),
        (slice(None, None, -1), "zyx"),
        ([2, 0], "zx"),
        (found.scores > 0.15, "yz"),
        ([], ""),
    ):
        assert found[rows].tokens == tuple(tokens)
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(TypeError, match="integers or booleans"):
        found["a"]


def test_what_is_shown_of_a_value():
    masks = np.zeros((3, 4, 5), bool)
    masks[1] = True
    found = three(masks=masks, scores=np.array([0.25, 0.5, 1]))
    assert repr(found[:2]) == (
        "Detections(2 found, 'a' 0.25 [0.0, 0.0, 10.0, 10.0] 0 pixels, "
        "'a' 0.50 [5.0, 0.0, 15.0, 10.0] 20 pixels)"
    )
    assert repr(three()[[]]) == "Detections(0 found)"
    many = three().take([0] * 30)
    assert repr(many).endswith("and 10 more)")
    table = found._repr_html_()
    assert table.count("<tr>") == 4
    assert "<th>mask</th>" in table
    assert "mask" not in three()._repr_html_()
    marked = Detections(("<b>&",), BOXES[:1])._repr_html_()
    assert "&lt;b&gt;&amp;" in marked
    assert "<b>" not in marked


def test_a_drawing_is_shown_and_written(tmp_path):
    picture = Image.new("RGB", (40, 30), (9, 9, 9))
    found = three(scores=np.array([0.25, 0.5, 1]))
    assert found.plot(picture) == draw_detections(picture, found)
    path = tmp_path / "drawn.png"
    path.write_text("replaced")
    picture.save(tmp_path / "picture.png")
    found.save(path, tmp_path / "picture.png")
    with Image.open(path) as drawn:
        assert drawn.convert("RGB") == found.plot(picture)
    with pytest.raises(ValueError, match="unknown file extension"):
        found.save(tmp_path / "drawn.psdx", picture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["drawn.png", "picture.png"]
