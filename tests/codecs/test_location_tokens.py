from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2 import codecs


def test_bins_by_hand():
    boxes = [[0.0, 0.25, 0.5, 1.0], [0.1, 0.2, 0.3, 0.4]]
    # 0.25 * 1023 = 255.75; 0.5 * 1023 = 511.5, to the even 512; 102.3, 204.6, ...
    expected = [[0, 256, 512, 1023], [102, 205, 307, 409]]
    bins = codecs.encode_boxes_yxyx(boxes)
    assert bins.dtype == np.int32
    assert bins.tolist() == expected
    assert codecs.boxes_yxyx_to_text(boxes)[0] == "<loc0000><loc0256><loc0512><loc1023>"


def test_last_bin_is_the_border_of_the_picture():
    boxes = codecs.decode_boxes_yxyx([[0, 0, 1023, 1023]])
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 1, 1]]
    pixels = codecs.to_pixels_xyxy(boxes, width=640, height=480)
    assert pixels.tolist() == [[0, 0, 640, 480]]


def test_axes_are_swapped_between_the_two_orders():
    pixels = codecs.to_pixels_xyxy([[0.1, 0.2, 0.3, 0.4]], width=1000, height=100)
    np.testing.assert_allclose(pixels, [[200, 10, 400, 30]], rtol=1e-6)
    back = codecs.normalize_boxes_xyxy(pixels, width=1000, height=100)
    np.testing.assert_allclose(back, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)


@given(st.lists(st.integers(0, 1023), min_size=4, max_size=4))
def test_every_bin_comes_back(bins):
    y1, x1, y2, x2 = bins
    box = [min(y1, y2), min(x1, x2), max(y1, y2), max(x1, x2)]
    decoded = codecs.decode_boxes_yxyx([box])
    assert codecs.encode_boxes_yxyx(decoded).tolist() == [box]


def test_values_a_rounding_error_outside_are_clipped():
    bins = codecs.encode_boxes_yxyx([[-1e-6, 0, 1 + 1e-6, 1]])
    assert bins.tolist() == [[0, 0, 1023, 1023]]


def test_no_boxes():
    assert codecs.encode_boxes_yxyx([]).shape == (0, 4)
    assert codecs.decode_boxes_yxyx(np.zeros((0, 4), int)).shape == (0, 4)
    assert codecs.boxes_yxyx_to_text([]) == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 20, 30, 40]], "normalize_boxes_xyxy"),
        ([[0.5, 0.5, 0.2, 0.2]], "row 0"),
        ([[0, 0, 0.1, 0.1], [0, 0.5, 0.1, 0.2]], "row 1"),
        ([0.1, 0.2, 0.3, 0.4], r"shape \[N, 4\]"),
        ([[0, 0, float("nan"), 1]], "finite"),
    ],
)
def test_bad_boxes(boxes, message):
    with pytest.raises(ValueError, match=message):
        codecs.encode_boxes_yxyx(boxes)


def test_bad_bins_and_sizes():
    with pytest.raises(ValueError, match=r"bins in 0\.\.1023"):
        codecs.decode_boxes_yxyx([[0, 0, 0, 1024]])
    with pytest.raises(ValueError, match="width=0"):
        codecs.to_pixels_xyxy([[0, 0, 1, 1]], width=0, height=4)


def test_a_hundred_thousand_boxes_come_back_within_half_a_bin():
    corners = np.random.default_rng(0).random((100_000, 2, 2))
    boxes = np.sort(corners, axis=1).reshape(-1, 4)
    back = codecs.decode_boxes_yxyx(codecs.encode_boxes_yxyx(boxes))
    assert np.abs(back - boxes).max() <= 0.5 / 1023 + 1e-7
    # Not just near: the nearest bin.
    step = 1 / 1023
    assert (np.abs(back - boxes) <= np.abs(back + step - boxes) + 1e-7).all()
