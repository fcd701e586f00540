"""Metrics, by numbers worked out by hand."""

from __future__ import annotations

import difflib

import numpy as np
import pytest

from keras_pg2.codecs import parse_detections
from keras_pg2.codecs.detections import Detections
from keras_pg2.finetuning.evaluation import (
    METRICS,
    Answered,
    check_packages,
    edit_distance,
)
from keras_pg2.recipes import METRICS as NAMED


def score(metric: str, *pairs: tuple[str, str], sure: float = 0.5) -> float:
    def read(text: str) -> Detections:
        found = parse_detections(text, 1024, 1024)
        scores = np.full(len(found), sure, np.float32)
        return Detections(found.labels, found.boxes_xyxy, scores=scores)

    function = METRICS[metric].score
    assert function is not None
    return function(
        [
            Answered(truth, answer, lambda answer=answer: read(answer))
            for truth, answer in pairs
        ]
    )


def test_exact_match():
    assert score("exact_match", ("7", " 7\n"), ("7", "17"), ("a", "A")) == 1 / 3


def test_anls():
    # "hello" to "hallo" is one letter of five; "abc" to "xyz" is below one half.
    pairs = [("Hello", "hallo"), ("abc", "xyz"), ("same", "same")]
    assert score("anls", *pairs) == pytest.approx((0.8 + 0 + 1) / 3)
    # Exactly one half counts.
    assert score("anls", ("ab", "ax")) == 0.5


@pytest.mark.parametrize(
    ("truth", "answer", "is_right"),
    [
        ("100", "105", True),
        ("100", "106", False),
        ("-20", "-19", True),
        ("-20", "19", False),
        # A percentage is its hundredth.
        ("0.5", "50%", True),
        ("50%", "0.5", True),
        ("50", "50%", False),
        ("5%", "5", False),
        ("41%", "43%", True),
        ("41%", "44%", False),
        # Commas make no number, so the texts are compared.
        ("1,000", "1000", False),
        ("1,000", "1,000", True),
        ("1,000", "1,010", False),
        # Nothing is near 0 but what is written so.
        ("0", "0", True),
        ("0", "0.0", False),
        ("0", "0.01", False),
        ("Yes", " yes\n", True),
        ("12 %", "0.12", True),
        ("$12", "12", False),
    ],
)
def test_relaxed_accuracy_is_that_of_pix2struct_and_big_vision(truth, answer, is_right):
    assert score("relaxed_accuracy", (truth, answer)) == is_right


def test_relaxed_accuracy_is_a_mean():
    pairs = [("100", "105"), ("100", "106"), ("1,000", "1000"), ("Yes", "yes")]
    assert score("relaxed_accuracy", *pairs) == 2 / 4


def test_ap50():
    left = "<loc0000><loc0000><loc1023><loc0511> cat"
    right = "<loc0000><loc0512><loc1023><loc1023> cat"
    assert score("ap50", (left, left), (right, right)) == pytest.approx(1)
    # One of two things found: precision 1 up to a recall of one half, which is 51 of
    # COCO's 101 places.
    assert score("ap50", (f"{left} ; {right}", left)) == pytest.approx(51 / 101)
    assert score("ap50", (left, right)) == 0
    assert score("ap50", (left, "a cat")) == 0


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("flaw", "lawn", 2), ("x", "x", 0)],
)
def test_edit_distance(a, b, distance):
    assert edit_distance(a, b) == edit_distance(b, a) == distance


def test_an_edit_distance_is_no_more_than_an_edit_script():
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(9))) for _ in range(2))
        matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
        script = sum(
            max(i2 - i1, j2 - j1)
            for kind, i1, i2, j1, j2 in matcher.get_opcodes()
            if kind != "equal"
        )
        assert abs(len(a) - len(b)) <= edit_distance(a, b) <= script


def test_names_are_those_of_recipes():
    assert set(METRICS) - set(NAMED) == {"ap50"}
    check_packages("ap50")
