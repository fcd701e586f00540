from __future__ import annotations

import math

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.codecs import Detections
from keras_pg2.metrics import Answer, Truth
from keras_pg2.metrics.things.referring import MaskIou

SEG = "".join(f"<seg{i:03d}>" for i in range(16))


def one(x1, y1, x2, y2, has_mask=True):
    mask = np.zeros((1, 100, 100), bool)
    mask[0, y1:y2, x1:x2] = True
    box = np.array([[x1, y1, x2, y2]], np.float32)
    return Detections(("",), box, mask if has_mask else None)


NOTHING = Detections((), np.zeros((0, 4), np.float32), np.zeros((0, 100, 100), bool))


def rows(metric, *answers):
    truth = Truth(things=one(0, 0, 10, 10), kind="testA", size=(100, 100))
    return [metric.statistics(Answer("", things=found), truth) for found in answers]


def test_masks_by_hand():
    metric = metrics.get("mask_iou")
    figures = metric.result(
        rows(metric, one(0, 0, 10, 10), one(0, 0, 10, 5), one(5, 0, 15, 10), NOTHING)
    )
    # (1 + 1/2 + 1/3 + 0) / 4 and (100 + 50 + 50 + 0) / (100 + 100 + 150 + 100).
    assert figures == pytest.approx(
        {
            "mask_iou": 11 / 24,
            "overall_iou": 200 / 450,
            "box_accuracy_50": 0.5,
            "box_accuracy_75": 0.25,
            "valid": 0.75,
            "testA": 11 / 24,
        }
    )


def test_a_box_without_a_mask_is_not_valid():
    metric = metrics.get("mask_iou")
    figures = metric.result(rows(metric, one(0, 0, 10, 10, has_mask=False)))
    assert (figures["mask_iou"], figures["valid"]) == (0, 0)
    assert figures["box_accuracy_75"] == 1


def test_texts_are_read_with_the_decoder_whatever_things_there_are():
    metric = MaskIou(decode_crops=lambda codes: np.ones((len(codes), 64, 64)))
    truth = Truth(things=one(0, 0, 10, 10))
    text = f"<loc0000><loc0000><loc0103><loc0103>{SEG} a cat"
    row = metric.statistics(Answer(text, things=NOTHING), truth)
    assert (row["shared"], row["united"], row["is_valid"]) == (100, 100, True)
    assert not metric.statistics(Answer("cat", things=NOTHING), truth)["is_valid"]


def test_what_a_metric_of_masks_needs():
    metric = metrics.get("mask_iou")
    with pytest.raises(ValueError, match="Give the metric `decode_crops`"):
        metric.statistics(Answer(SEG), Truth(things=one(0, 0, 10, 10)))
    with pytest.raises(ValueError, match="received no things"):
        metric.statistics(Answer(SEG), Truth(answers=("a",)))
    with pytest.raises(ValueError, match="mask that is not empty"):
        metric.statistics(Answer("", things=NOTHING), Truth(things=one(0, 0, 0, 0)))
    other = Detections(("",), np.zeros((1, 4), np.float32), np.zeros((1, 9, 9), bool))
    with pytest.raises(ValueError, match="mask of the size"):
        rows(metric, other)


def test_boxes_by_hand():
    metric = metrics.get("box_accuracy")
    figures = metric.result(
        rows(metric, one(0, 0, 10, 10), one(0, 0, 10, 5), one(50, 50, 60, 60), NOTHING)
    )
    assert figures == pytest.approx(
        {
            "box_accuracy": 0.5,
            "box_accuracy_75": 0.25,
            "box_iou": 1.5 / 4,
            "valid": 0.75,
            "testA": 0.5,
        }
    )


def test_the_first_box_of_a_text_counts():
    metric = metrics.get("box_accuracy")
    right, wrong = "<loc0000><loc0000><loc0512><loc0512>", "<loc0600>" * 4
    truth = Truth(answers=(f"{right} cat",))

    def iou(text):
        return metric.statistics(Answer(text), truth)["box_iou"]

    assert iou(right) == iou(f"{right} cat ; {wrong} cat") == 1
    assert iou(f"{wrong} cat ; {right} cat") == 0
    # A box without a pixel, three tokens, no box.
    assert iou(wrong) == iou(right[:27]) == iou("") == 0
    with pytest.raises(ValueError, match="one box as truth, received 2"):
        metric.statistics(Answer(""), Truth(answers=(f"{right} a ; {right} b",)))


def test_figures_of_a_draw_without_examples_are_nan():
    metric = metrics.get("box_accuracy")
    figures = metric.result(rows(metric, NOTHING), np.array([0]))
    assert math.isnan(figures["box_accuracy"])
