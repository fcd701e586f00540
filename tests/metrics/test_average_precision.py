from __future__ import annotations

import builtins
import math

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.codecs import Detections
from keras_pg2.metrics import Answer, Truth, coco_average_precision
from keras_pg2.metrics.things.average_precision import precision_recall_curves
from tests.support.metric_cases import draw_cases

CAT = ("cat", 0, 0, 50, 50)
FAR = ("cat", 60, 60, 90, 90)
DOG = ("dog", 60, 0, 90, 30)


def things(*rows, scores=None, masks=None):
    """Rows of (label, x1, y1, x2, y2)."""
    return Detections(
        tuple(row[0] for row in rows),
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        masks,
        None if scores is None else np.array(scores, np.float32),
    )


def row(found, there, name="coco_ap", **details):
    truth = Truth(things=there, size=(100, 100), details=details)
    return metrics.get(name).statistics(Answer("", things=found), truth)


def result(*rows, counts=None, name="coco_ap"):
    return metrics.get(name).result(rows, counts)


def test_a_perfect_answer_and_a_label_that_is_missed():
    found = things(CAT, scores=[0.9])
    figures = result(row(found, things(CAT, DOG)))
    assert figures["coco_ap"] == figures["ap"] == pytest.approx(0.5)
    assert figures["ap/cat"] == pytest.approx(1)
    assert figures["ap/dog"] == 0
    # 50 x 50 pixels are medium, 30 x 30 small.
    assert figures["ap_medium"] == pytest.approx(1)
    assert figures["ap_small"] == 0
    assert math.isnan(figures["ap_large"])


def test_a_sure_mistake_costs_half():
    found = things(FAR, CAT, scores=[0.9, 0.1])
    assert result(row(found, things(CAT)))["ap"] == pytest.approx(0.5)


def test_mistakes_are_ranked_over_pictures():
    right = row(things(CAT, scores=[0.4]), things(CAT))
    wrong = row(things(CAT, scores=[0.8]), things())
    assert result(right, wrong)["ap50"] == pytest.approx(0.5)
    # A draw that has the right one twice and the wrong one not.
    assert result(right, wrong, counts=np.array([2, 0]))["ap50"] == pytest.approx(1)
    # Twice right and once wrong: 2 of 3 at full recall.
    drawn = result(right, wrong, counts=np.array([2, 1]))
    assert drawn["ap50"] == pytest.approx(2 / 3)
    # No truth is drawn.
    assert math.isnan(result(right, wrong, counts=np.array([0, 2]))["ap50"])


def test_a_label_of_no_truth_costs_nothing():
    found = things(CAT, ("unicorn", 0, 0, 9, 9), scores=[0.5, 0.9])
    figures = result(row(found, things(CAT)))
    assert figures["ap"] == pytest.approx(1)
    assert "ap/unicorn" not in figures


def test_detections_in_a_crowd_are_forgiven():
    found = things(CAT, FAR, scores=[0.5, 0.9])
    crowds = things(("cat", 55, 55, 99, 99))
    assert result(row(found, things(CAT), crowds=crowds))["ap"] == pytest.approx(1)


def test_areas_of_the_file_tell_small_from_large():
    found, there = things(CAT, scores=[0.5]), things(CAT)
    figures = result(row(found, there, areas=[900]))
    assert figures["ap_small"] == pytest.approx(1)
    assert math.isnan(figures["ap_medium"])
    with pytest.raises(ValueError, match="area for each of 1 truths, received 2"):
        row(found, there, areas=[900, 800])


def test_duplicates_boxes_outside_and_boxes_without_pixels():
    outside = ("cat", 200, 200, 300, 300)
    nothing = ("cat", 5, 5, 5, 5)
    found = things(CAT, CAT, outside, nothing, scores=[0.9, 0.8, 0.7, 0.6])
    figures = result(row(found, things(CAT)))
    # The mistakes come after full recall.
    assert figures["ap"] == pytest.approx(1)
    figures = result(row(found, things(CAT, nothing)))
    assert figures["ap50"] == pytest.approx(51 / 101)


def test_scores_that_are_nan_or_missing():
    with pytest.raises(ValueError, match="scores in"):
        things(CAT, scores=[math.nan])
    with pytest.raises(ValueError, match="scores of the boxes, or the probability"):
        row(things(CAT), things(CAT))
    # An answer without boxes needs no scores.
    assert result(row(things(), things(CAT)))["ap"] == 0


def test_masks_of_the_pictures_size_are_compared():
    masks = np.zeros((2, 40, 40), bool)
    masks[0, :20, :20] = True
    masks[1, :20, :10] = True
    box = ("cat", 0, 0, 20, 20)
    there = things(box, masks=masks[:1])
    half = things(box, scores=[1], masks=masks[1:])
    figures = result(row(half, there, "coco_ap_masks"), name="coco_ap_masks")
    # Half of the pixels: IoU 0.5 passes the first of ten thresholds.
    assert figures["coco_ap_masks"] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="Expected masks"):
        row(things(box, scores=[1]), there, "coco_ap_masks")


def test_boxes_of_texts_are_as_sure_as_the_answer():
    metric = metrics.get("ap50")
    right = "<loc0000><loc0000><loc0500><loc0500> cat"
    wrong = "<loc0600><loc0600><loc0900><loc0900> cat"

    def row(text, probability):
        answer = Answer(text, log_probability=math.log(probability), num_tokens=1)
        return metric.statistics(answer, Truth(answers=(right,)))

    surely_wrong = metric.result([row(right, 0.5), row(wrong, 0.9)])
    # Wrong, right: precision 1/2 at the recalls 0, ..., 0.50 of two truths.
    assert surely_wrong["ap50"] == pytest.approx(51 / 101 / 2)
    assert list(surely_wrong)[:3] == ["ap50", "ap", "ap75"]
    assert "ap_small" not in surely_wrong
    with pytest.raises(ValueError, match="ask for scores"):
        metric.statistics(Answer(right), Truth(answers=(right,)))
    with pytest.raises(ValueError, match="received 2 texts"):
        metric.statistics(Answer(right), Truth(answers=(right, wrong)))


@pytest.mark.parametrize("name", ["coco_ap", "coco_ap_masks"])
def test_figures_are_those_of_the_function(name):
    cases = draw_cases(name, np.random.default_rng(5), 25)
    found = metrics.get(name).result([metrics.get(name).statistics(*c) for c in cases])
    expected = coco_average_precision(
        [answer.things for answer, _ in cases],
        [truth.things for _, truth in cases],
        "boxes" if name == "coco_ap" else "masks",
        [truth.details["crowds"] for _, truth in cases],
    )
    for figure in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ar100"):
        assert found[figure] == pytest.approx(getattr(expected, figure), nan_ok=True)
    assert {
        label.removeprefix("ap/"): value
        for label, value in found.items()
        if label.startswith("ap/")
    } == pytest.approx(expected.ap_by_label)


def test_a_curve_of_a_label():
    rows = [
        row(things(FAR, CAT, scores=[0.9, 0.1]), things(CAT)),
        row(things(CAT, DOG, scores=[0.5, 0.5]), things(CAT, ("cow", 1, 1, 9, 9))),
    ]
    curves = precision_recall_curves(rows)
    assert list(curves) == ["cat", "cow"]
    # Wrong, right, right: 1/2 after the first right one, then 2/3, made falling.
    np.testing.assert_allclose(curves["cat"].precision, 2 / 3)
    np.testing.assert_allclose(curves["cat"].recall, np.arange(101) / 100)
    assert not curves["cow"].precision.any()
    assert list(precision_recall_curves(rows, counts=np.array([1, 0]))) == ["cat"]
    with pytest.raises(ValueError, match=r"received 0\.52"):
        precision_recall_curves(rows, iou=0.52)


def test_scores_of_pictures_are_f1_at_half():
    rows = [
        row(things(CAT, FAR, scores=[0.5, 0.1]), things(CAT)),
        row(things(), things()),
        row(things(), things(DOG)),
    ]
    np.testing.assert_allclose(metrics.get("coco_ap").scores(rows), [2 / 3, np.nan, 0])


def test_pycocotools_is_told_when_it_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pycocotools"):
            raise ImportError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"keras-pg2\[detection\]"):
        metrics.get("coco_ap").check()
