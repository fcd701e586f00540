from __future__ import annotations

import math

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.codecs import Detections
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.structured.text_spotting import outlines

NAME = "text_spotting"


def words(*rows):
    """Rows of (word, x1, y1, x2, y2)."""
    boxes = np.array([row[1:] for row in rows], np.float32).reshape(-1, 4)
    return Detections(tuple(row[0] for row in rows), boxes)


def row(given, there, **details):
    return metrics.get(NAME).statistics(
        Answer("", things=given), Truth(things=there, details=details)
    )


def figures(*args, **details):
    return metrics.get(NAME).result([row(*args, **details)])


STOP = ("STOP", 0, 0, 40, 10)
NOW = ("now", 50, 0, 80, 10)


def test_words_found_and_read_by_hand():
    # The first is read, the second found at IoU 300 / 400, the third is nowhere.
    given = words(STOP, ("Now", 50, 0, 90, 10), ("x", 0, 90, 9, 99))
    found = figures(
        given, words(STOP, NOW, ("far", 300, 0, 340, 10), ("b", 0, 50, 9, 60))
    )
    assert found["text_spotting_precision"] == pytest.approx(1 / 3)
    assert found["text_spotting_recall"] == pytest.approx(1 / 4)
    assert found["text_spotting"] == pytest.approx(2 / 7)
    assert found["detection"] == pytest.approx(4 / 7)
    assert found["detection_tightness"] == pytest.approx(1.75 / 2)
    assert found["detection_pq"] == pytest.approx(4 / 7 * 1.75 / 2)
    assert found["text_spotting_tightness"] == pytest.approx(1)


def test_case_and_punctuation_count():
    for text in ("stop", "STOP!", " STOP", ""):
        assert row(words((text, *STOP[1:])), words(STOP))["num_read"] == 0
    assert row(words(STOP), words(STOP))["num_read"] == 1


def test_the_iou_has_to_be_a_half():
    given = words(("STOP", 0, 0, 40, 21))
    assert row(given, words(("STOP", 0, 0, 40, 10)))["num_found"] == 0
    assert row(given, words(("STOP", 0, 0, 40, 11)))["num_found"] == 1


def test_duplicates_find_a_word_once():
    found = row(words(STOP, STOP), words(STOP))
    assert (found["num_given"], found["num_found"]) == (2, 1)
    # Two truths at one place and one answer.
    found = row(words(STOP), words(STOP, STOP))
    assert (found["num_truths"], found["num_found"]) == (2, 1)


def test_each_has_to_be_the_others_best():
    # The wide answer is nearest to the left word, whose best is the narrow answer.
    given = words(("a", 0, 0, 12, 10), ("b", 0, 0, 10, 10))
    there = words(("b", 0, 0, 10, 10), ("a", 40, 0, 50, 10))
    assert row(given, there)["num_found"] == 1


def test_words_in_illegible_regions_are_forgiven():
    there = words(STOP, ("###", 50, 0, 150, 10))
    inside, half_out = ("x", 60, 0, 80, 10), ("y", 40, 0, 58, 10)
    found = row(words(STOP, inside, half_out), there, ignored=[False, True])
    # 8 of 18 columns of the last one are inside, which is less than half.
    assert (found["num_truths"], found["num_given"], found["num_found"]) == (1, 2, 1)
    found = row(words(STOP, inside), there)
    assert (found["num_truths"], found["num_given"]) == (2, 2)


def test_polygons():
    # Three quarters of the box.
    corners = [[0, 0], [40, 0], [20, 10], [0, 10]]
    found = row(words(STOP), words(STOP), polygons=[corners])
    assert found["iou_found"] == pytest.approx(0.75, abs=1e-6)
    # Three quarters as a box, and a triangle that touches it: 300 + 50 of 400 pixels.
    touching = [[0, 0], [30, 0], [30, 10], [40, 0], [40, 10], [0, 10]]
    found = row(words(STOP), words(STOP), polygons=[touching])
    assert found["iou_found"] == pytest.approx(0.875, abs=1e-6)
    # Whose sides cross: a bow tie of two triangles, half of the box together, and the
    # source's 0.00001 square pixels make it less.
    bow = [[0, 0], [40, 10], [40, 0], [0, 10]]
    assert row(words(STOP), words(STOP), polygons=[bow])["num_found"] == 0
    assert outlines(words(STOP), [bow])[0].area == pytest.approx(200)
    # A tail that goes out and comes back adds nothing.
    tail = [[0, 0], [40, 0], [90, 0], [40, 0], [40, 10], [0, 10]]
    found = row(words(STOP), words(STOP), polygons=[tail])
    assert found["iou_found"] == pytest.approx(1, abs=1e-6)
    # No area at all.
    line = [[0, 0], [40, 0], [20, 0]]
    assert row(words(STOP), words(STOP), polygons=[line])["num_found"] == 0


def test_polygons_that_touch_share_nothing():
    touching = ("STOP", 40, 0, 80, 10)
    assert row(words(touching), words(STOP))["num_found"] == 0
    corner = [[40, 10], [80, 10], [80, 20], [40, 20]]
    assert row(words(STOP), words(STOP), polygons=[corner])["num_found"] == 0


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([[0, 0], [1, 1]], "three or more corners"),
        ([1, 2, 3, 4, 5, 6], "three or more corners"),
        ([[0, 0], [1, math.nan], [1, 1]], "finite corners"),
    ],
)
def test_what_is_no_polygon(polygon, message):
    with pytest.raises(ValueError, match=message):
        row(words(STOP), words(STOP), polygons=[polygon])


def test_details_are_one_for_each_word():
    with pytest.raises(ValueError, match="each of 1 words, received 2 and 1"):
        row(words(STOP), words(STOP), polygons=[None, None])
    with pytest.raises(ValueError, match="received 1 and 2"):
        row(words(STOP), words(STOP), ignored=[True, False])


def test_nothing_there_and_nothing_said():
    nothing = words()
    # Precision and recall of nothing are 1, as HierText has it.
    assert figures(nothing, nothing)["text_spotting"] == 1
    assert figures(nothing, words(STOP))["text_spotting"] == 0
    assert figures(words(STOP), nothing)["text_spotting"] == 0
    rows = [
        row(nothing, nothing),
        row(words(STOP), words(STOP)),
        row(nothing, words(NOW)),
    ]
    np.testing.assert_array_equal(metrics.get(NAME).scores(rows), [np.nan, 1, 0])


def test_answers_of_text_are_boxes_with_words():
    text = "<loc0000><loc0000><loc0100><loc0400> STOP ; <loc0000><loc0500><loc0100>"
    metric = metrics.get(NAME)
    truth = Truth(answers=("<loc0000><loc0000><loc0100><loc0400> STOP",))
    for said in (text, truth.answers[0]):
        assert metric.statistics(Answer(said), truth)["num_read"] == 1
    for said in ("", "STOP", "<loc0000>" * 4):
        assert metric.statistics(Answer(said), truth)["num_found"] == 0


def test_sums_are_over_pictures():
    rows = [row(words(STOP), words(STOP)), row(words(NOW), words(STOP))]
    metric = metrics.get(NAME)
    assert metric.result(rows)["text_spotting"] == 0.5
    assert metric.result(rows, np.array([3, 1]))["text_spotting"] == 0.75
