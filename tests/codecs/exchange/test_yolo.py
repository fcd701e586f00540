"""YOLO label files, read back and by supervision."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from keras_pg2.codecs import (
    Detections,
    from_supervision,
    from_yolo,
    to_yolo,
    write_text,
)
from keras_pg2.codecs.exchange.polygons import pixel_polygons
from tests.support.exchange_cases import (
    HEIGHT,
    NAMES,
    WIDTH,
    boxes_only,
    filled,
    instances,
    sv,
    two,
)


@given(instances())
@settings(max_examples=40, deadline=None)
def test_round_trip(found):
    has_scores = found.scores is not None
    text = to_yolo(found, NAMES, WIDTH, HEIGHT, with_scores=has_scores)
    again = from_yolo(text, NAMES, WIDTH, HEIGHT)
    assert again.labels == found.labels
    if has_scores and len(found):
        np.testing.assert_allclose(again.scores, found.scores, atol=1e-8)
    for i in range(len(found)):
        if found.masks is None:
            assert again.masks is None
            box = again.boxes_xyxy[i]
            np.testing.assert_allclose(box, found.boxes_xyxy[i], atol=1e-5)
        elif found.masks[i].any():
            assert again.masks[i][found.masks[i]].all()
            if len(pixel_polygons(found.masks[i])) == 1:
                expected = filled(found.masks[i])
                np.testing.assert_array_equal(again.masks[i], expected)


def test_text_by_hand():
    found = boxes_only(two())
    text = to_yolo(found, ["dog", "cat"], WIDTH, HEIGHT)
    assert text == "1 0.333333333 0.3125 0.416666667 0.375\n0 0.75 0.625 0.5 0.75\n"
    text = to_yolo(two(), ["dog", "cat"], WIDTH, HEIGHT, with_scores=True)
    assert text.splitlines()[1] == "0 0.5 0.25 1 0.25 1 1 0.5 1 0.5"
    nothing = Detections((), np.zeros((0, 4), np.float32))
    assert to_yolo(nothing, NAMES, WIDTH, HEIGHT) == ""
    assert len(from_yolo("\n", NAMES, WIDTH, HEIGHT)) == 0


def test_boxes_are_cut_at_the_border():
    found = Detections(("cat",), np.array([[-6, 4, 12, 20]], np.float32))
    assert to_yolo(found, NAMES, WIDTH, HEIGHT) == "0 0.25 0.625 0.5 0.75\n"


def test_labels_at_the_border_and_a_byte_order_mark():
    """As Ultralytics' check admits them: up to a hundredth outside."""
    text = "\ufeff0 0.99 0.5 0.1 0.5\n1 1.005 -0.01 0.5 0.5\n"
    found = from_yolo(text, NAMES, WIDTH, HEIGHT)
    # x1 = 24 * (0.99 - 0.05), and 24 * (1.005 - 0.25); y2 = 16 * (-0.01 + 0.25).
    expected = [[22.56, 4, 24, 12], [18.12, 0, 24, 3.84]]
    np.testing.assert_allclose(found.boxes_xyxy, expected, atol=1e-5)
    assert found.boxes_xyxy.max() == 24
    polygon = "0 0.5 0.5 1.01 0.5 1.01 1.01 0.5 1.01"
    found = from_yolo(polygon, NAMES, WIDTH, HEIGHT)
    assert found.boxes_xyxy.tolist() == [[12, 8, 24, 16]]
    alone = from_yolo(polygon, NAMES, WIDTH, HEIGHT, with_masks=False)
    assert alone.masks is None
    np.testing.assert_array_equal(alone.boxes_xyxy, found.boxes_xyxy)


def test_parts_are_joined_by_a_seam():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:6, 2:6] = mask[2:6, 10:14] = mask[12:14, 2:6] = True
    found = Detections(("cat",), np.zeros((1, 4), np.float32), mask[None])
    text = to_yolo(found, NAMES, WIDTH, HEIGHT)
    assert len(text.splitlines()) == 1
    read = from_yolo(text, NAMES, WIDTH, HEIGHT).masks[0]
    assert read[mask].all()
    assert (read & ~mask).sum() == 4 + 6  # One pixel wide.


@pytest.mark.parametrize("with_masks", [False, True])
def test_supervision_reads_it(tmp_path, with_masks):
    found = two() if with_masks else boxes_only(two())
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    write_text(to_yolo(found, NAMES, WIDTH, HEIGHT), tmp_path / "a.txt")
    write_text(f"nc: 3\nnames: {json.dumps(NAMES)}\n", tmp_path / "data.yaml")
    dataset = sv.DetectionDataset.from_yolo(
        str(tmp_path), str(tmp_path), str(tmp_path / "data.yaml")
    )
    _, _, value = next(iter(dataset))
    again = from_supervision(value, dataset.classes)
    assert again.labels == ("cat", "dog")
    if with_masks:
        np.testing.assert_array_equal(again.masks[0], found.masks[0])
    else:
        np.testing.assert_allclose(again.boxes_xyxy, found.boxes_xyxy, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.1 0.2 0.3", "a box of four numbers"),
        ("0.5 0.1 0.2 0.3 0.4", "a box of four numbers"),
        ("0 0.1 0.2 nan 0.4", "a box of four numbers"),
        ("cat 0.1 0.2 0.3 0.4", "Expected numbers"),
        ("3 0.1 0.2 0.3 0.4", "received the class 3"),
        ("0 12 8 5 4", "Divide pixels"),
        (f"0 .1 .2 .3 .4 {'cat' * 5000}", "Expected numbers"),
        (f"0 .1 .2 .3 {'9' * 5000}", "a box of four numbers"),
        (f"0 .1 .2 .3 4.{'9' * 5000}", "Divide pixels"),
        ("0 0.1 0.2 -0.2 0.4", "parts of the picture"),
    ],
)
def test_lines_that_are_none(text, message):
    with pytest.raises(ValueError, match=message) as error:
        from_yolo(text, NAMES, WIDTH, HEIGHT)
    assert len(str(error.value)) < 400


def test_a_line_added_by_hand_is_sure():
    found = from_yolo("0 .5 .5 .3 .4 0.25\n0 .5 .5 .1 .1", NAMES, WIDTH, HEIGHT)
    assert found.scores.tolist() == [0.25, 1.0]


def test_errors():
    with pytest.raises(ValueError, match="received the label 'dog'"):
        to_yolo(two(), ["cat"], WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="received 'cat' twice"):
        to_yolo(two(), ["cat", "dog", "cat"], WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="Expected detections with scores"):
        to_yolo(boxes_only(two()), NAMES, WIDTH, HEIGHT, with_scores=True)
    with pytest.raises(ValueError, match=r"of 16 x 24 .* received 24 x 16"):
        to_yolo(two(), NAMES, HEIGHT, WIDTH)
    with pytest.raises(TypeError, match="Expected a list of class names"):
        to_yolo(two(), "cat", WIDTH, HEIGHT)
