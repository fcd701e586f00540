"""Runs that end, stop, diverge, and go on to the same numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM, recipes
from keras_pg2.codecs.detection_scores import (
    CALIBRATION_FILE,
    ScoreCalibration,
)
from keras_pg2.conversion.adapters.files import read_adapter
from keras_pg2.finetuning import DivergedError, Settings, finetune
from keras_pg2.finetuning.logs import StepLog, read_log
from keras_pg2.finetuning.steps import Step
from keras_pg2.preprocessing import image_converter, resizing
from tests.support.finetuning_runs import make_model, make_rows

SETTINGS = Settings(
    epochs=2,
    batch_size=3,
    accumulate=2,
    learning_rate=1e-2,
    label_smoothing=0.1,
    dropout=0.3,
    checkpoint_steps=3,
    augment=True,
)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list:
    return make_rows(tmp_path_factory.mktemp("pictures"), 13)


def numbers(path: Path) -> list[tuple]:
    """The log without the times."""
    return [step[:-1] for step in read_log(path / "log.csv")]


def factors(path: Path) -> dict[str, np.ndarray]:
    layers = read_adapter(path / "adapter.safetensors").layers
    return {
        f"{key}/{name}": value
        for key, f in layers.items()
        for name, value in (("a", f.a), ("b", f.b))
    }


def values(model: PaliGemma2CausalLM) -> dict[int, np.ndarray]:
    """All weights of the network, LoRA's factors among them."""
    arrays = [np.asarray(array) for array in model.backbone.get_weights()]
    return dict(enumerate(arrays))


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        np.testing.assert_allclose(value, wanted[key], rtol=0, atol=1e-6)


@pytest.mark.eager
def test_a_run_that_was_killed_and_interrupted_comes_to_the_same_numbers(
    rows, tmp_path, monkeypatch
):
    options = {"settings": SETTINGS, "show_progress": False}
    whole = finetune(make_model(), rows, output=tmp_path / "whole", **options)
    # 13 rows are four steps of three; two epochs.
    assert (whole.step, whole.num_steps, whole.is_finished) == (8, 8, True)
    assert [step.step for step in read_log(tmp_path / "whole" / "log.csv")] == [
        *range(1, 9)
    ]
    parts = tmp_path / "parts"
    add = StepLog.add

    def add_and(action, at):
        def wrapped(self: StepLog, step: Step) -> None:
            add(self, step)
            if step.step == at:
                action()

        monkeypatch.setattr(StepLog, "add", wrapped)

    def kill() -> None:
        raise KilledError

    add_and(kill, 5)
    with pytest.raises(KilledError):
        finetune(make_model(), rows, output=parts, **options)
    # In the middle of the second epoch, and of an update of two steps.
    assert json.loads((parts / "last" / "progress.json").read_text())["step"] == 3
    # Half a line, as a killed process leaves it.
    with (parts / "log.csv").open("a") as file:
        file.write("6,2,1.2")
    add_and(lambda: os.kill(os.getpid(), signal.SIGINT), 5)
    model = make_model()
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    stopped = finetune(model, rows, output=parts, resume=True, **options)
    assert (stopped.step, stopped.is_finished) == (5, False)
    assert not (parts / "adapter.safetensors").exists()
    monkeypatch.setattr(StepLog, "add", add)
    resumed = finetune(model, rows, output=parts, resume=True, **options)
    assert (resumed.step, resumed.is_finished) == (8, True)
    np.testing.assert_allclose(
        numbers(parts), numbers(tmp_path / "whole"), rtol=0, atol=1e-6
    )
    assert_same(factors(parts), factors(tmp_path / "whole"))
    assert sorted(path.name for path in parts.iterdir()) == [
        "README.md",
        "adapter.safetensors",
        "curves.png",
        "last",
        "log.csv",
        "settings.json",
        "tensorboard",
    ]


@pytest.mark.one_backend("which step is chosen; scores are compared elsewhere")
def test_evaluations_choose_the_best_and_end_training(rows, tmp_path):
    settings = dataclasses.replace(
        SETTINGS, epochs=40, accumulate=1, eval_steps=2, patience=2, num_samples=0
    )
    # At such a rate it gets worse from the start.
    settings = dataclasses.replace(settings, learning_rate=1.0, metric="perplexity")
    model = make_model()
    output = tmp_path / "run"
    done = finetune(model, rows[:9], rows[9:], settings, output, show_progress=False)
    scores = [one["score"] for one in done.evaluations]
    assert done.best is not None
    assert done.best["score"] == min(scores)
    assert done.is_finished
    assert done.step < done.num_steps
    assert [one["step"] for one in done.evaluations] == [*range(2, done.step + 1, 2)]
    assert done.evaluations[-1]["step"] == done.best["step"] + 4
    # The result, in the file and in the model, is that of the best step.
    best = json.loads((output / "best" / "progress.json").read_text())
    assert best["step"] == done.best["step"]
    assert_same(factors(output), factors(output / "best"))
    fresh = make_model(rank=None)
    fresh.adapters.load(output / "adapter.safetensors")
    assert_same(values(model), values(fresh))
    card = (output / "README.md").read_text()
    assert f"step {done.best['step']}, the best by perplexity" in card
    assert "9 rows to train on" in card
    with Image.open(output / "curves.png") as picture:
        assert picture.width > 100


@pytest.mark.two_backends("noise is drawn on all")
def test_dropout_is_in_the_steps_of_a_run_alone(rows, tmp_path):
    def losses(name: str, model: PaliGemma2CausalLM, dropout: float) -> list[float]:
        settings = Settings(epochs=1, batch_size=4, dropout=dropout)
        folder = tmp_path / name
        finetune(model, rows, (), settings, folder, show_progress=False)
        return [step.loss for step in read_log(folder / "log.csv")]

    model = make_model()
    calibration = model.score_calibration = ScoreCalibration(0.5, (1.0, 2.0, 3.0))
    before = [np.array(variable) for variable in model.trainable_variables]
    dropped = losses("dropped", model, 0.5)
    assert model.backbone.text_decoder.dropout == 0.0
    # An adapter can be taken out of the base, whose calibration stays.
    assert model.score_calibration == calibration
    plain = losses("plain", make_model(), 0.0)
    assert np.abs(np.subtract(dropped, plain)).min() > 1e-3
    # A step that was compiled with dropout is not taken again.
    for variable, value in zip(model.trainable_variables, before):
        variable.assign(value)
    np.testing.assert_allclose(losses("after", model, 0.0), plain, rtol=1e-5)


@pytest.mark.eager
def test_a_diverged_run_stops_and_leaves_the_last_good_checkpoint(rows, tmp_path):
    settings = dataclasses.replace(
        SETTINGS, learning_rate=1e30, accumulate=1, checkpoint_steps=1
    )
    output = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"step \d.*lower learning rate"):
        finetune(make_model(), rows, (), settings, output, show_progress=False)
    kept = json.loads((output / "last" / "progress.json").read_text())["step"]
    assert kept < len(read_log(output / "log.csv"))
    assert all(np.isfinite(v).all() for v in factors(output / "last").values())


@pytest.mark.one_backend("which files a run leaves")
def test_whole_weights_without_lora(rows, tmp_path):
    model = make_model(rank=None)
    model.backbone.vision_encoder.trainable = False
    frozen = [np.array(v) for v in model.backbone.vision_encoder.get_weights()]
    settings = Settings(epochs=1, batch_size=6, learning_rate=1e-3)
    output = tmp_path / "run"
    model.score_calibration = ScoreCalibration(0.5, (1.0, 2.0, 3.0))
    finetune(model, rows, (), settings, output, show_progress=False)
    loaded = PaliGemma2CausalLM.from_preset(str(output / "preset"))
    assert_same(values(model), values(loaded))
    # Not that of the short rows, which would cut its answers.
    assert loaded.preprocessor.sequence_length == model.preprocessor.sequence_length
    for before, now in zip(frozen, loaded.backbone.vision_encoder.get_weights()):
        np.testing.assert_array_equal(before, now)
    assert 'from_preset("run/preset")' in (output / "README.md").read_text()
    # A calibration of the base's scores says nothing of these weights.
    assert model.score_calibration is None
    assert loaded.score_calibration is None
    assert not list(output.rglob(CALIBRATION_FILE))


@pytest.mark.one_backend("how pictures are resized, before the network")
def test_pictures_are_resized_as_the_recipe_says(rows, tmp_path, monkeypatch):
    seen = []

    def watched(image, size, interpolation, antialias):
        seen.append(antialias)
        return resizing.stretch(image, size, interpolation, antialias)

    monkeypatch.setattr(image_converter, "stretch", watched)
    model = make_model(rank=None)
    converter = model.preprocessor.image_converter
    converter.antialias = True
    recipe = recipes.get("vizwizvqa")
    assert recipe.antialias == (True, False)
    options = Settings(
        recipe="vizwizvqa", metric="exact_match", epochs=1, batch_size=6, eval_rows=4
    )
    output = tmp_path / "run"
    finetune(model, rows[:6], rows[6:], options, output, show_progress=False)
    # A batch to train on; then the same four for the loss and for answers.
    assert seen[:6] == [True] * 6
    assert len(seen) >= 6 + 2 * 4
    assert not any(seen[6:])
    assert converter.antialias is True
    loaded = PaliGemma2CausalLM.from_preset(str(output / "preset"))
    assert loaded.preprocessor.image_converter.antialias is False
    cached = dataclasses.replace(options, cache_features=True)
    with pytest.raises(ValueError, match=r"'vizwizvqa': with antialias in training"):
        finetune(model, rows, (), cached, tmp_path / "other", show_progress=False)


@pytest.mark.one_backend("settings and folders, before anything is computed")
def test_runs_that_do_not_begin(rows, tmp_path):
    model = make_model()
    options = {"show_progress": False}
    output = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="Start without"):
        finetune(model, rows, (), SETTINGS, output, resume=True, **options)
    output.mkdir()
    (output / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="resume"):
        finetune(model, rows, (), SETTINGS, output, **options)
    (output / "precious.txt").unlink()
    short = dataclasses.replace(SETTINGS, epochs=1, accumulate=1, batch_size=13)
    finetune(model, rows, (), short, output, **options)
    others = dataclasses.replace(short, seed=5, learning_rate=0.5)
    with pytest.raises(
        ValueError, match=r"learning_rate was 0\.01 and is 0\.5; .*seed"
    ):
        finetune(model, rows, (), others, output, resume=True, **options)
    one_less = dataclasses.replace(short, batch_size=12)
    with pytest.raises(ValueError, match="data num_rows was 13 and is 12"):
        finetune(model, rows[:12], (), one_less, output, resume=True, **options)
    with pytest.raises(ValueError, match=r"rank 2.*rank 3"):
        finetune(make_model(3), rows, (), short, output, resume=True, **options)
    with pytest.raises(ValueError, match="preprocessor"):
        finetune(PaliGemma2CausalLM(model.backbone), rows, (), short, tmp_path / "b")
