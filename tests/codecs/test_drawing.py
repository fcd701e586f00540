from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_pg2.codecs import Detections, draw_boxes
from keras_pg2.codecs.drawing import label_colors


def detections(*boxes: tuple[str, list[float]]) -> Detections:
    labels = tuple(label for label, _ in boxes)
    coordinates = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    return Detections(labels, coordinates)


def test_the_picture_given_is_left_as_it_is():
    picture = Image.new("RGB", (200, 100), (9, 9, 9))
    drawn = draw_boxes(picture, detections(("cat", [20, 30, 120, 90])))
    assert drawn.size == (200, 100)
    assert picture.getcolors() == [(20000, (9, 9, 9))]


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (230, 57, 70)])
def test_frame_lies_on_the_box_on_any_background(background):
    picture = Image.new("RGB", (200, 200), background)
    found = detections(("cat", [50, 60, 150, 160]))
    color = label_colors(found.labels)["cat"]
    pixels = np.asarray(draw_boxes(picture, found))
    assert tuple(pixels[160, 100]) == color
    assert tuple(pixels[110, 50]) == color
    assert tuple(pixels[110, 100]) == background
    assert pixels[100:130, 47:50].sum(axis=-1).min() < 100


def test_colours_are_of_labels_and_differ():
    labels = [f"thing {i}" for i in range(25)]
    colors = label_colors([*labels, "thing 3"])
    assert len(colors) == 25
    assert len(set(colors.values())) == 25


def test_names_stay_within_the_picture():
    found = detections(
        ("a rather long name", [180, 0, 199, 20]), ("low", [0, 195, 10, 199])
    )
    blank = Image.new("RGB", (200, 200), (128, 128, 128))
    pixels = np.asarray(draw_boxes(blank, found))
    colors = label_colors(found.labels)
    for label in found.labels:
        is_plate = (pixels == colors[label]).all(axis=-1)
        rows, columns = np.nonzero(is_plate)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height * width > 300
        plate = is_plate[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 0.3 < plate.mean() < 0.95  # The rest is ink.


def test_line_width_follows_the_picture():
    widths = []
    for size in (200, 1600):
        found = detections(("", [size * 0.25, size * 0.25, size * 0.75, size * 0.75]))
        pixels = np.asarray(draw_boxes(Image.new("RGB", (size, size)), found))
        color = label_colors(("",))[""]
        row = (pixels[size // 2] == color).all(axis=-1)
        widths.append(row.sum() // 2)
    assert widths == [1, 8]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((40, 50, 3), np.uint8),
        np.zeros((40, 50, 1), np.uint8),
        np.zeros((40, 50), np.uint8),
        Image.new("RGBA", (50, 40)),
        Image.new("P", (50, 40)),
    ],
)
def test_kinds_of_pictures_and_boxes_over_the_border(picture):
    found = detections(("x", [-10, -5, 90, 70]), ("", [49, 39, 50, 40]))
    drawn = draw_boxes(picture, found)
    assert (drawn.mode, drawn.size) == ("RGB", (50, 40))


def test_no_picture():
    with pytest.raises(TypeError, match="received str"):
        draw_boxes("cat.png", detections())
