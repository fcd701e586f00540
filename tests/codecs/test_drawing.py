from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.codecs import Detections, draw_detections
from keras_pg2.codecs.drawing import label_colors
from keras_pg2.codecs.drawing_plates import ink_color, place_plates, plate_texts


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
    assert drawn.size == (100, 200)
    color = label_colors(found.labels)["cat"]
    assert drawn.getpixel((50, 180)) == color
    drawn.save(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as again:
        assert 0x0112 not in again.getexif()
        assert again.size == (100, 200)


def test_no_picture():
    with pytest.raises(TypeError, match=r"received str.*open_image"):
        draw_detections("cat.png", detections())
    with pytest.raises(TypeError, match="received int"):
        draw_detections(3, detections())
    with pytest.raises(ValueError, match=r"received shape \(1, 4, 5, 3\)"):
        draw_detections(np.zeros((1, 4, 5, 3), np.uint8), detections())


GREY = Image.new("RGB", (200, 160), (128, 128, 128))


def with_mask(scores: list[float] | None = None) -> Detections:
    mask = np.zeros((1, 160, 200), bool)
    mask[0, 60:120, 50:130] = True
    mask[0, 80:100, 70:90] = False  # A hole.
    return Detections(
        ("",),
        np.array([[40, 50, 140, 130]], np.float32),
        mask,
        None if scores is None else np.array(scores, np.float32),
    )


def test_masks_are_translucent_with_an_outline_and_nothing_outside():
    found = with_mask()
    color = np.array(label_colors(found.labels)[""])
    pixels = np.asarray(draw_detections(GREY, found))
    blend = np.round(0.55 * 128 + 0.45 * color)
    for y, x in [(70, 60), (110, 120), (90, 110)]:
        assert pixels[y, x].tolist() == blend.tolist()
    for y, x in [(60, 90), (119, 90), (90, 50), (90, 129), (79, 80), (90, 90)]:
        assert pixels[y, x].tolist() == color.tolist()  # Also around the hole.
    for y, x in [(59, 90), (120, 90), (90, 49), (90, 130), (80, 80)]:
        assert pixels[y, x].tolist() == [20, 20, 20]
    for y, x in [(55, 90), (90, 80), (90, 135), (20, 20)]:
        assert pixels[y, x].tolist() == [128, 128, 128]


def test_a_small_mask_is_drawn_over_a_large_one():
    masks = np.zeros((2, 160, 200), bool)
    masks[0, 90:110, 90:110] = True
    masks[1, 50:150, 20:180] = True
    boxes = np.array([[90, 90, 110, 110], [20, 50, 180, 150]], np.float32)
    found = Detections(("small", "large"), boxes, masks)
    pixels = np.asarray(draw_detections(GREY, found))
    below = 0.55 * 128 + 0.45 * np.array(label_colors(found.labels)["large"])
    above = 0.55 * np.round(below) + 0.45 * np.array(label_colors(["small"])["small"])
    assert np.abs(pixels[100, 100] - above).max() <= 1


def test_masks_over_the_border_empty_ones_and_dots():
    masks = np.zeros((3, 160, 200), bool)
    masks[0] = True
    masks[1, 159, 199] = True
    boxes = np.array([[0, 0, 200, 160], [199, 159, 200, 160], [3, 3, 4, 4]], np.float32)
    found = Detections(("all", "dot", "none"), boxes, masks)
    pixels = np.asarray(draw_detections(GREY, found))
    assert pixels[80, 199].tolist() == list(label_colors(("all",))["all"])
    assert pixels[159, 199].tolist() == list(label_colors(found.labels)["dot"])


def test_masks_of_another_size():
    turned = Detections(("x",), np.zeros((1, 4)), np.zeros((1, 200, 160), bool))
    with pytest.raises(ValueError, match=r"200 x 160 .* received masks of 160 x 200"):
        draw_detections(GREY, turned)
    none = Detections((), np.zeros((0, 4)), np.zeros((0, 8, 8), bool))
    with pytest.raises(ValueError, match="received masks of 8 x 8"):
        draw_detections(GREY, none)


def test_nothing_found_leaves_the_picture_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    for found in (
        detections(),
        Detections((), np.zeros((0, 4)), np.zeros((0, 40, 50), bool), np.zeros(0)),
    ):
        assert (np.asarray(draw_detections(noise, found)) == noise).all()


def test_scores_are_written():
    drawings = [
        np.asarray(draw_detections(GREY, with_mask(scores)))
        for scores in (None, [0.93], [0.934], [0.53])
    ]
    assert (drawings[0] != drawings[1]).any()
    assert (drawings[1] == drawings[2]).all()  # Two digits.
    assert (drawings[1] != drawings[3]).any()
    assert plate_texts(["cat", "", "a\n b"], [0.5, 1.0, 0.004]) == (
        "cat 0.50",
        "1.00",
        "a b 0.00",
    )


def test_ink_stands_out_on_every_plate():
    for color in label_colors([str(i) for i in range(60)]).values():
        lighter, darker = sorted(
            (relative_luminance(color), relative_luminance(ink_color(color))),
            reverse=True,
        )
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def relative_luminance(color: tuple[int, ...]) -> float:
    levels = np.array(color) / 255
    curve = ((levels + 0.055) / 1.055) ** 2.4
    linear = np.where(levels <= 0.04045, levels / 12.92, curve)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_plates_of_boxes_on_each_other_keep_apart():
    draw = ImageDraw.Draw(GREY.copy())
    font = ImageFont.load_default(size=12)
    boxes = [[30, 40, 150, 140]] * 5
    plates = place_plates(
        draw, ["one", "two", "three", "four", "five"], boxes, font, GREY.size
    )
    covered = np.zeros((160, 200), int)
    for plate in plates:
        x1, y1, x2, y2 = plate.box
        assert 0 <= x1 < x2 <= 200
        assert 0 <= y1 < y2 <= 160
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1


def test_long_names_keep_their_score_within_the_picture():
    draw = ImageDraw.Draw(GREY.copy())
    font = ImageFont.load_default(size=12)
    text = "a very long name of a thing that no plate can hold 0.93"
    (plate,) = place_plates(draw, [text], [[20, 20, 60, 60]], font, (200, 160))
    assert plate.text.startswith("a very long name")
    assert plate.text.endswith("... hold 0.93") or plate.text.endswith("...hold 0.93")
    assert plate.box[2] - plate.box[0] <= 200
