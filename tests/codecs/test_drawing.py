from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_pg2.codecs import Detections, draw_detections
from keras_pg2.codecs.drawing import label_colors


def detections(*boxes: tuple[str, list[float]]) -> Detections:
    labels = tuple(label for label, _ in boxes)
    coordinates = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    return Detections(labels, coordinates)


def test_the_picture_given_is_left_as_it_is():
    picture = Image.new("RGB", (200, 100), (9, 9, 9))
    drawn = draw_detections(picture, detections(("cat", [20, 30, 120, 90])))
    assert drawn.size == (200, 100)
    assert picture.getcolors() == [(20000, (9, 9, 9))]


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (230, 57, 70)])
def test_frame_lies_on_the_box_on_any_background(background):
    picture = Image.new("RGB", (200, 200), background)
    found = detections(("cat", [50, 60, 150, 160]))
    color = label_colors(found.labels)["cat"]
    pixels = np.asarray(draw_detections(picture, found))
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
    pixels = np.asarray(draw_detections(blank, found))
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
        pixels = np.asarray(draw_detections(Image.new("RGB", (size, size)), found))
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
    drawn = draw_detections(picture, found)
    assert (drawn.mode, drawn.size) == ("RGB", (50, 40))


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
@pytest.mark.parametrize("axes", [(), (1,), (3,), (4,)])
def test_pictures_of_one_row_or_column(size, axes):
    width, height = size
    picture = np.zeros((height, width, *axes), np.uint8)
    assert draw_detections(picture, detections()).size == size
    assert draw_detections(picture, detections(("x", [0, 0, 1, 1]))).size == size


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint16"])
def test_arrays_of_other_kinds_hold_levels(dtype):
    top = 257 if dtype == "uint16" else 1
    picture = np.full((40, 50, 3), 99 * top).astype(dtype)
    drawn = draw_detections(picture, detections())
    assert drawn.getcolors() == [(2000, (99, 99, 99))]
    assert (picture == 99 * top).all()


def test_photographs_stored_turned_are_drawn_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to see it.
    Image.new("RGB", (200, 100)).save(tmp_path / "stored.png", exif=exif)
    found = detections(("cat", [10, 100, 90, 180]))
    with Image.open(tmp_path / "stored.png") as stored:
        drawn = draw_detections(stored, found)
    assert draw_detections(tmp_path / "stored.png", found) == drawn
    assert drawn.size == (100, 200)
    color = label_colors(found.labels)["cat"]
    assert drawn.getpixel((50, 180)) == color
    drawn.save(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as again:
        assert 0x0112 not in again.getexif()
        assert again.size == (100, 200)


def test_no_picture():
    with pytest.raises(FileNotFoundError, match=r"cat\.png"):
        draw_detections("cat.png", detections())
    with pytest.raises(TypeError, match="received int"):
        draw_detections(3, detections())
    with pytest.raises(ValueError, match=r"received shape \(1, 4, 5, 3\)"):
        draw_detections(np.zeros((1, 4, 5, 3), np.uint8), detections())


def test_nothing_found_leaves_the_picture_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    for found in (
        detections(),
        Detections((), np.zeros((0, 4)), np.zeros((0, 40, 50), bool), np.zeros(0)),
    ):
        assert (np.asarray(draw_detections(noise, found)) == noise).all()


def test_a_label_has_the_same_color_in_two_pictures():
    labels = ("cat", "dog")
    dog = Detections(("dog",), np.array([[20, 20, 80, 80]], np.float32))
    picture = np.zeros((100, 100, 3), np.uint8)
    alone, beside_a_cat = (
        np.asarray(draw_detections(picture, dog, labels=known)).reshape(-1, 3)
        for known in ((), labels)
    )
    first, second = label_colors(labels).values()
    assert (alone == first).all(1).any()
    assert not (alone == second).all(1).any()
    assert (beside_a_cat == second).all(1).any()
    assert not (beside_a_cat == first).all(1).any()
