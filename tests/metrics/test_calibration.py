"""Reliability, ECE and Brier's score, by hand and beside scikit-learn."""

import numpy as np
import pytest

from keras_pg2 import metrics
from keras_pg2.metrics.calibration import confidence, reliability_table
from keras_pg2.metrics.metric import Answer, Truth


def test_ece_by_hand():
    metric = metrics.get("ece")
    truth = Truth(answers=("cat",))
    cases = [("cat", 0.95), ("dog", 0.95), ("cat", 0.35), ("dog", 0.05)]
    rows = [
        metric.statistics(Answer(said, probability=given), truth)
        for said, given in cases
    ]
    found = metric.result(rows)
    # Bins of 1/15: two at 0.95 with half of them right, one at 0.35, one at 0.05.
    assert found["ece"] == pytest.approx((2 * 0.45 + 0.65 + 0.05) / 4)
    assert found["brier"] == pytest.approx((0.05**2 * 2 + 0.95**2 + 0.65**2) / 4)
    assert found["mean_probability"] == pytest.approx(2.3 / 4)
    assert found["mean_score"] == 0.5


def test_bins_of_equal_mass_never_part_equal_probabilities():
    metric = metrics.get("ece")
    truth = Truth(answers=("cat",))
    rows = [
        metric.statistics(Answer(said, probability=0.5), truth)
        for said in ["cat"] * 10 + ["dog"] * 10
    ]
    for order in (rows, rows[::-1]):
        assert metric.result(order)["ece_equal_mass"] == pytest.approx(0)


def test_probability_of_an_answer():
    assert confidence(Answer("a")) is None
    assert confidence(Answer("a", log_probability=-1.0)) == pytest.approx(np.exp(-1))
    assert confidence(Answer("a", log_probability=-1.0, probability=0.9)) == 0.9
    assert confidence(Answer("a", log_probability=1e-9)) == 1
    with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
        confidence(Answer("a", probability=float("nan")))


def test_reliability_table_has_empty_bins_too():
    table = reliability_table([0.0, 0.5, 0.51, 1.0], [0, 1, 0.5, 1], num_bins=2)
    # The lower bin is closed above.
    assert [tuple(one) for one in table] == [
        (0.0, 0.5, 2, 0.25, 0.5),
        (0.5, 1.0, 2, pytest.approx(0.755), 0.75),
    ]
    empty = reliability_table([0.9], [1], num_bins=3)[0]
    assert empty.num_answers == 0
    assert np.isnan(empty.probability)
