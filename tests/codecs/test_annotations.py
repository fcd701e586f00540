from __future__ import annotations

import json
import sys

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_pg2.codecs import mask_from_coco, mask_to_rle

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def test_runs_go_down_the_columns():
    # 2 rows, 3 columns: one pixel off, two on, three off.
    mask = mask_from_coco({"counts": [1, 2, 3], "size": [2, 3]}, width=3, height=2)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_a_rectangle_as_polygon():
    # Columns 1..3 and rows 2..3 of 6 x 5: whole pixels have no rounding.
    mask = mask_from_coco([[1, 2, 4, 2, 4, 4, 1, 4]], width=6, height=5)
    expected = np.zeros((5, 6), bool)
    expected[2:4, 1:4] = True
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_mask():
    left, right = [0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 5, 1, 5, 3, 1, 3]
    union = mask_from_coco([left, right], 6, 4)
    apart = mask_from_coco([left], 6, 4) | mask_from_coco([right], 6, 4)
    # 2 x 2 and 4 x 2 pixels that share one: 4 + 8 - 1.
    assert union.sum() == 11
    np.testing.assert_array_equal(union, apart)


@given(
    st.lists(
        st.lists(st.floats(-5, 45), min_size=3, max_size=6).map(
            lambda xs: [v for x in xs for v in (x, (x * 7.3) % 31)]
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_as_pycocotools_draws_them(polygons):
    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, 30, 40))
    expected = coco_mask.decode(runs) == 1
    np.testing.assert_array_equal(mask_from_coco(polygons, 40, 30), expected)


@given(MASKS)
def test_masks_come_back_and_pycocotools_reads_them(mask):
    height, width = mask.shape
    runs = json.loads(json.dumps(mask_to_rle(mask)))
    assert runs["size"] == [height, width]
    np.testing.assert_array_equal(coco_mask.decode(runs) == 1, mask)
    np.testing.assert_array_equal(mask_from_coco(runs, width, height), mask)
    as_bytes = {**runs, "counts": runs["counts"].encode()}
    np.testing.assert_array_equal(mask_from_coco(as_bytes, width, height), mask)


@given(MASKS)
def test_plain_runs_mean_what_compressed_ones_mean(mask):
    height, width = mask.shape
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff([0, *edges, flat.size]).tolist()
    runs = {"counts": counts, "size": [height, width]}
    np.testing.assert_array_equal(mask_from_coco(runs, width, height), mask)
    compressed = coco_mask.frPyObjects(runs, height, width)
    np.testing.assert_array_equal(mask_from_coco(compressed, width, height), mask)


@given(st.text(max_size=8))
def test_any_text_of_counts_is_read_or_refused(text):
    runs = {"size": [3, 4], "counts": text}
    try:
        mask = mask_from_coco(runs, 4, 3)
    except ValueError:
        return
    np.testing.assert_array_equal(mask, coco_mask.decode(runs) == 1)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "at least one polygon"),
        ([1, 2, 3, 4, 5, 6], "Put a single polygon in a list"),
        ([[0, 0, 2, 2]], "polygon 0, received 4 numbers"),
        ([[0, 0, 2, 0, 2, 2], [0, 0, 1, 0, 1, 1, 0]], "polygon 1, received 7 numbers"),
        ([[0, 0, 2, 0, 2, float("nan")]], "finite coordinates"),
        ([[0, 0, 1e9, 0, 2, 2]], r"received values in 0\.\.1e\+09"),
        ([[0, 0, "a", 0, 2, 2]], "Expected numbers"),
        ("polygon", "received str"),
        (7, "received int"),
        ({"counts": [12]}, "no 'size'"),
        ({"size": [3, 4]}, "no 'counts'"),
        ({"counts": [12], "size": [4, 3]}, r"size \[3, 4\].*received \[4, 3\]"),
        ({"counts": [12], "size": 12}, r"size \[3, 4\].*received 12"),
        ({"counts": [11], "size": [3, 4]}, "3 x 4 = 12 pixels, received 11"),
        ({"counts": [14, -2], "size": [3, 4]}, "numbers of pixels"),
        ({"counts": [12.0], "size": [3, 4]}, "numbers of pixels"),
        ({"counts": [], "size": [3, 4]}, "received 0"),
        ({"counts": "0", "size": [3, 4]}, "received 0"),
        ({"counts": "<P", "size": [3, 4]}, "ends in the middle"),
        ({"counts": "<!", "size": [3, 4]}, "damaged at character 1"),
        ({"counts": "é", "size": [3, 4]}, "damaged at character 0"),
    ],
)
def test_bad_segmentations(segmentation, message):
    with pytest.raises(ValueError, match=message):
        mask_from_coco(segmentation, width=4, height=3)


def test_bad_sizes_and_masks():
    with pytest.raises(ValueError, match="height=0"):
        mask_from_coco([[0, 0, 1, 0, 1, 1]], 4, 0)
    with pytest.raises(ValueError, match=r"uint8\[2, 2\]"):
        mask_to_rle(np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"bool\[1, 2, 2\]"):
        mask_to_rle(np.zeros((1, 2, 2), bool))


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r"keras-pg2\[detection\]"):
        mask_to_rle(np.zeros((2, 2), bool))
