"""Things that an exported model finds, beside what the model finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_pg2 import MaskCodec, PaliGemma2CausalLM, ScoreCalibration
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.conversion.found_models import find_model
from keras_pg2.deploy import ONNXModel, export_onnx
from keras_pg2.deploy.opening import open_exported
from tests.support.tiny_models import random_task

LABELS = ["cat", "red dog"]
OPTIONS = {"max_detections": 3, "min_score": 0.0}


def pictures() -> list[np.ndarray]:
    """Two of different shapes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, 30, 3)).astype("uint8") for h in (20, 50)]


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    task = random_task(seed=3)
    task.mask_codec = MaskCodec(MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8))))
    task.score_calibration = ScoreCalibration(3.0, (0.5, 0.1, 0.2), "nothing")
    return task


@pytest.fixture(scope="module")
def directory(task, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "onnx"
    export_onnx(task, directory)
    return directory


def test_scores_and_masks_are_the_models(task, directory):
    exported = open_exported(find_model(directory), with_codec=True)
    for name in ("detect", "segment"):
        expected = getattr(task, name)(pictures(), LABELS, **OPTIONS)
        look = getattr(exported, name)
        found = look(pictures(), LABELS, **OPTIONS)
        lazily = look(iter(pictures()), LABELS, batch_size=1, **OPTIONS)
        for ours, again, theirs in zip(found, lazily, expected, strict=True):
            assert ours.tokens == again.tokens == theirs.tokens
            assert len(ours) > 0
            np.testing.assert_array_equal(ours.boxes_xyxy, theirs.boxes_xyxy)
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
            np.testing.assert_array_equal(ours.scores, again.scores)
            if name == "segment":
                np.testing.assert_array_equal(ours.masks, theirs.masks)
        alone = look(pictures()[0], LABELS, **OPTIONS)
        np.testing.assert_array_equal(alone.boxes_xyxy, found[0].boxes_xyxy)


def test_what_is_rather_wrong_is_left_out_where_scores_are_probabilities(
    task, directory
):
    runner = ONNXModel(directory)
    assert runner.score_calibration == task.score_calibration
    found = runner.detect(pictures()[0], LABELS, min_score=0.0)
    by_default = runner.detect(pictures()[0], LABELS)
    assert len(by_default) == int((found.scores >= 0.5).sum())
    runner.score_calibration = None
    assert len(runner.detect(pictures()[0], LABELS)) == len(found)


def test_what_cannot_be_looked_for(directory):
    runner = ONNXModel(directory)
    with pytest.raises(ValueError, match=r"mask_codec=None. Set it"):
        runner.segment(pictures()[0], LABELS)
    with pytest.raises(ValueError, match="min_score in"):
        runner.detect(pictures()[0], LABELS, min_score=2.0)
    with pytest.raises(ValueError, match="one list of labels"):
        runner.detect(pictures(), [["cat"]])
