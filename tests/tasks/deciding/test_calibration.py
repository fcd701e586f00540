from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from keras_pg2 import Decision, DecisionCalibration, Question
from keras_pg2.metrics import Answer
from tests.support.damaged_fields import DAMAGES, damaged, loads, named

CAT = Question("is there a cat?")
COLOR = Question.one_of("what color?", ["red", "green", "blue"])


def decision(question: Question, logs: list[float]) -> Decision:
    """A decision of which only what the network says matters."""
    scores = dict(zip(question.values, logs))
    best = max(scores, key=lambda value: scores[value])
    return Decision(question, best, dict.fromkeys(scores, 0.5), scores)


def test_probabilities_by_hand():
    calibration = DecisionCalibration(boolean=2.0, yes_bias=np.log(3), choice=0.5)
    # exp(-1 / 2) * 3 beside exp(-2 / 2)
    shares = calibration("boolean", np.array([-1.0, -2.0]))
    expected = np.array([3 * np.exp(-0.5), np.exp(-1.0)])
    np.testing.assert_allclose(shares, expected / expected.sum(), rtol=1e-12)
    shares = calibration("choice", np.log([0.5, 0.25]))
    np.testing.assert_allclose(shares, [0.8, 0.2])  # 4 to 1 of 2 to 1.
    np.testing.assert_allclose(calibration("number", np.log([0.3, 0.1])), [0.75, 0.25])


def test_what_a_decision_says():
    found = Decision(CAT, False, {False: 0.7, True: 0.3}, {False: -1.0, True: -2.0})
    assert (found.probability, found.answer) == (0.7, "no")
    assert found.covered == pytest.approx(np.exp(-1) + np.exp(-2))
    assert found.to_answer() == Answer("no", log_probability=-1.0, probability=0.7)
    assert json.loads(json.dumps(found.to_dict())) == {
        "question": "is there a cat?",
        "type": "boolean",
        "value": False,
        "probability": 0.7,
        "probabilities": {"no": 0.7, "yes": 0.3},
    }


def test_drawn_truths_give_the_calibration_they_were_drawn_from():
    truth = DecisionCalibration(boolean=2.0, yes_bias=-0.7, choice=0.4)
    rng = np.random.default_rng(0)
    decisions, truths = [], []
    for _ in range(4_000):
        for question in (CAT, COLOR):
            logs = rng.normal(0, 1.5, len(question.values))
            shares = truth(question.kind, logs)
            decisions.append(decision(question, logs.tolist()))
            drawn = rng.choice(len(logs), p=shares)
            truths.append(question.values[drawn])
    fitted = DecisionCalibration.fit(decisions, truths, "drawn")
    assert fitted.boolean == pytest.approx(2.0, rel=0.12)
    assert fitted.yes_bias == pytest.approx(-0.7, abs=0.12)
    assert fitted.choice == pytest.approx(0.4, rel=0.08)
    assert (fitted.number, fitted.fitted_on) == (1.0, "drawn")


def test_a_model_that_is_always_right_is_not_infinitely_sure():
    """Of 8 right decisions as sure as each other one in ten counts as wrong."""
    decisions = [decision(COLOR, [-0.1, -3.0, -3.0])] * 8
    fitted = DecisionCalibration.fit(decisions, ["red"] * 8)
    shares = fitted("choice", np.array([-0.1, -3.0, -3.0]))
    np.testing.assert_allclose(shares, [0.9, 0.05, 0.05], rtol=1e-5)


def test_numbers_without_a_range_are_one_beside_all_others():
    year = Question.number("when?")
    sure = Decision(year, 1999, {1999: 0.9}, {1999: float(np.log(0.9))})
    fitted = DecisionCalibration.fit([sure] * 10, [1999] * 5 + [2000] * 5)
    shares = fitted("number", np.log([0.9, 0.1]))
    assert shares[0] == pytest.approx(0.5, abs=0.01)


def test_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="received none"):
        DecisionCalibration.fit([], [])
    for question, wrong in ((COLOR, "pink"), (CAT, "yes"), (CAT, 1)):
        logs = [-1.0] * len(question.values)
        with pytest.raises(ValueError, match=f"Received: {wrong!r}"):
            DecisionCalibration.fit([decision(question, logs)], [wrong])


def test_each_field_of_the_file(tmp_path):
    path = tmp_path / "decisions.json"
    calibration = DecisionCalibration(
        boolean=0.5, yes_bias=0.25, choice=2.0, number=3.0, fitted_on="scenes"
    )
    calibration.save(tmp_path)
    assert json.loads(path.read_text()) == asdict(calibration)

    def read(content):
        path.write_text(json.dumps(content))
        return DecisionCalibration.from_bytes(path.read_bytes(), path)

    assert read(asdict(calibration)) == calibration
    fields = [("boolean",), ("yes_bias",), ("fitted_on",)]
    count, loaded = loads(read, damaged(asdict(calibration), fields), path)
    assert count == len(DAMAGES) * 3
    assert loaded == {
        *named("boolean", ["half"]),
        *named("yes_bias", ["below 0", "0", "half"]),
        *named("fitted_on", ["missing", "text", "empty text"]),
    }
