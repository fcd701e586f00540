from __future__ import annotations

import sys

import pytest

from keras_pg2 import metrics
from keras_pg2.metrics import Answer, Truth

TRUTH = Truth(answers=("clear lungs . no effusion .",))


def test_rewards_of_the_package_by_level():
    """The package is the tests' stand-in, which takes words for entities."""
    metric = metrics.get("radgraph_f1")
    metric.check()
    rows = [
        metric.statistics(Answer(text), TRUTH)
        for text in (TRUTH.answers[0], "clear lungs", "")
    ]
    # Two of five words: F1 is 4 / 7; the stand-in halves it for "partial".
    f1 = (1 + 4 / 7 + 0) / 3
    assert metric.result(rows) == pytest.approx(
        {
            "radgraph_f1": f1 / 2,
            "radgraph_simple": f1,
            "radgraph_partial": f1 / 2,
            "radgraph_complete": f1 / 4,
        }
    )
    assert metric.scores(rows) == pytest.approx([0.5, 2 / 7, 0])


@pytest.mark.parametrize("truth", [(), ("",), ("a", "b")])
def test_a_truth_that_is_not_one_report_is_refused(truth):
    with pytest.raises(ValueError, match="one report as truth"):
        metrics.get("radgraph_f1").statistics(Answer("a"), Truth(answers=truth))


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "radgraph", None)
    with pytest.raises(ImportError, match="pip install radgraph"):
        metrics.get("radgraph_f1").check()
