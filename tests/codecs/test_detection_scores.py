from __future__ import annotations

import json

import numpy as np
import pytest

from keras_pg2.codecs.detection_scores import (
    ScoreCalibration,
    fit_calibration,
    geometric_mean,
)
from tests.support.damaged_fields import DAMAGES, damaged, loads, named


def test_geometric_mean_by_hand():
    features = np.log([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.25, 1.0, 0.5]])
    # (0.25 * 1 * 1 * 1 * 0.5) ** (1 / 5)
    expected = [0.5, 1.0, 0.125**0.2]
    np.testing.assert_allclose(geometric_mean(features), expected, rtol=1e-6)


def test_a_calibration_by_hand():
    scores = ScoreCalibration(1.0, (2.0, 0.0, 0.0))(np.array([[-0.5, -9.0, -9.0]]))
    np.testing.assert_allclose(scores, [0.5])


def test_fitted_scores_are_the_chance_of_being_right():
    rng = np.random.default_rng(0)
    features = -rng.exponential(1, (20_000, 3))
    truth = ScoreCalibration(2.0, (1.5, 0.5, 0.0))
    is_right = rng.random(20_000) < truth(features)
    fitted = fit_calibration(features, is_right, "drawn")
    assert fitted.bias == pytest.approx(2.0, abs=0.15)
    np.testing.assert_allclose(fitted.weights, truth.weights, atol=0.1)
    scores = fitted(features)
    for low in (0.1, 0.4, 0.7):
        bin_of = (scores > low) & (scores < low + 0.2)
        assert is_right[bin_of].mean() == pytest.approx(scores[bin_of].mean(), abs=0.03)


def test_what_cannot_be_fitted_is_told():
    with pytest.raises(ValueError, match="4 right ones of 4"):
        fit_calibration(np.zeros((4, 3)), [True] * 4)


def test_the_file_of_a_preset(tmp_path):
    assert ScoreCalibration.from_directory(tmp_path) is None
    calibration = ScoreCalibration(0.1, (0.2, 0.3, 0.4), "scenes")
    calibration.save(tmp_path)
    assert ScoreCalibration.from_directory(tmp_path) == calibration
    for wrong in (
        {},
        {"bias": 0, "weights": [1, 2]},
        {"bias": "x", "weights": [1] * 3},
    ):
        (tmp_path / "detection_scores.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"detection_scores\.json"):
            ScoreCalibration.from_directory(tmp_path)


def test_each_field_of_a_calibration(tmp_path):
    path = tmp_path / "detection_scores.json"

    def read(content):
        path.write_text(json.dumps(content))
        return ScoreCalibration.from_directory(tmp_path)

    content = {"bias": 0.5, "weights": [1.0, 2, 3.0], "fitted_on": "scenes"}
    assert read(content) == ScoreCalibration(0.5, (1.0, 2.0, 3.0), "scenes")
    fields = [("bias",), ("weights",), ("weights", 1), ("fitted_on",)]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 4
    numbers = ["below 0", "0", "half"]
    assert loaded == {
        *named("bias", numbers),
        *named("weights.1", numbers),
        *named("fitted_on", ["missing", "text", "empty text"]),
    }
