from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.codecs import Detections, draw_detections
from keras_pg2.codecs.drawing import label_colors
from keras_pg2.codecs.drawing_plates import ink_color, place_plates, plate_texts

GREY = Image.new("RGB", (200, 160), (128, 128, 128))


def scored(score: float | None) -> Detections:
    scores = None if score is None else np.array([score], np.float32)
    return Detections(("",), np.array([[40, 50, 140, 130]], np.float32), None, scores)


def test_scores_are_written():
    drawings = [
        np.asarray(draw_detections(GREY, scored(score)))
        for score in (None, 0.93, 0.934, 0.53)
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
