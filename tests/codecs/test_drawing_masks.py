from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_pg2.codecs import Detections, draw_detections
from keras_pg2.codecs.drawing import label_colors

GREY = Image.new("RGB", (200, 160), (128, 128, 128))


def with_mask() -> Detections:
    mask = np.zeros((1, 160, 200), bool)
    mask[0, 60:120, 50:130] = True
    mask[0, 80:100, 70:90] = False  # A hole.
    return Detections(("",), np.array([[40, 50, 140, 130]], np.float32), mask)


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
