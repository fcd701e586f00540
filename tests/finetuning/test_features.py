"""Runs on kept features: the numbers of pixels, and what cannot be."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.cli.finetuning_choices import Trained
from keras_pg2.finetuning import Settings, finetune
from keras_pg2.finetuning.logs import StepLog, read_log
from keras_pg2.preprocessing import image_features
from tests.support.finetuning_runs import make_model, make_rows
from tests.support.tiny_models import random_task

SETTINGS = Settings(
    epochs=2, batch_size=3, learning_rate=1e-2, dropout=0.2, checkpoint_steps=2
)
CACHED = dataclasses.replace(SETTINGS, cache_features=True)
PLAIN = Settings(epochs=1, batch_size=3, learning_rate=1e-2, dropout=0.2, num_samples=0)
QUIET = {"show_progress": False}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list:
    return make_rows(tmp_path_factory.mktemp("pictures"), 12)


def decoder_model() -> PaliGemma2CausalLM:
    return make_model(parts=["decoder"])


def losses(folder: Path) -> list[float]:
    return [step.loss for step in read_log(folder / "log.csv")]


def scores(result: Any) -> list[tuple]:
    return [
        tuple(one[name] for name in ("step", "loss", "accuracy", "score"))
        for one in result.evaluations
    ]


@pytest.mark.eager
def test_losses_and_answers_are_those_of_pixels(rows, tmp_path, monkeypatch):
    def do(name: str, settings: Settings) -> Any:
        model = decoder_model()
        folder = tmp_path / name
        done = finetune(model, rows[:9], rows[9:], settings, folder, **QUIET)
        assert model.preprocessor.image_features is None
        return done

    plain = do("plain", PLAIN)
    reads: list[int] = []
    monkeypatch.setattr(image_features, "safe_open", counted(safe_open, reads))
    cached = do("cached", dataclasses.replace(PLAIN, cache_features=True))
    # Nine rows of the epoch, three of the evaluation; `fit` may look at a batch before
    # it starts.
    assert len(reads) >= 9 + 3
    assert len(list((tmp_path / "cached" / "features").iterdir())) == 12
    wanted = losses(tmp_path / "plain")
    np.testing.assert_allclose(losses(tmp_path / "cached"), wanted, rtol=1e-4)
    assert wanted[0] != pytest.approx(wanted[-1], rel=1e-2)
    np.testing.assert_allclose(scores(cached), scores(plain), rtol=1e-4)


def counted(function: Callable, calls: list[int]) -> Callable:
    def wrapped(*arguments: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return function(*arguments, **kwargs)

    return wrapped


@pytest.mark.one_backend("files are of NumPy")
@pytest.mark.eager
def test_a_resumed_run_looks_at_no_picture_again(rows, tmp_path, monkeypatch):
    finetune(decoder_model(), rows, (), CACHED, tmp_path / "whole", **QUIET)
    parts = tmp_path / "parts"
    add = StepLog.add

    def fail(log: StepLog, step: Any) -> None:
        add(log, step)
        if step.step == 5:
            raise RuntimeError("killed")

    monkeypatch.setattr(StepLog, "add", fail)
    model = decoder_model()
    with pytest.raises(RuntimeError, match="killed"):
        finetune(model, rows, (), CACHED, parts, **QUIET)
    assert model.preprocessor.image_features is None
    monkeypatch.setattr(StepLog, "add", add)
    model = decoder_model()
    convert = model.preprocessor.convert_images

    def convert_none(images: Any, count: int) -> Any:
        assert images is None
        return convert(images, count)

    model.preprocessor.convert_images = convert_none
    finetune(model, rows, (), CACHED, parts, resume=True, **QUIET)
    np.testing.assert_allclose(
        losses(parts), losses(tmp_path / "whole"), rtol=0, atol=1e-6
    )


@pytest.mark.one_backend("files are of NumPy")
def test_half_precision_keeps_half_precision(rows, tmp_path):
    random_task().save_to_preset(tmp_path / "tiny")

    def do(name: str, settings: Settings) -> list[float]:
        keras.utils.set_random_seed(0)  # For the first factors.
        model = PaliGemma2CausalLM.from_preset(str(tmp_path / "tiny"), dtype="bfloat16")
        model.enable_lora(2, parts=["decoder"])
        finetune(model, rows, (), settings, tmp_path / name, **QUIET)
        return losses(tmp_path / name)

    plain = do("plain", PLAIN)
    cached = do("cached", dataclasses.replace(PLAIN, cache_features=True))
    files = list((tmp_path / "cached" / "features").iterdir())
    assert {load_file(file)["features"].dtype for file in files} == {np.dtype("f2")}
    # bfloat16 has a step of 1 / 256. Features of a file were rounded once more than
    # those inside a compiled step, where XLA keeps more bits on some processors.
    np.testing.assert_allclose(cached, plain, rtol=2**-6)


@pytest.mark.one_backend("settings, and room on a disk")
def test_runs_that_cannot_be(rows, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="either augment or cache_features"):
        dataclasses.replace(CACHED, augment=True)
    output = tmp_path / "run"
    for model in (make_model(), make_model(rank=None)):
        with pytest.raises(ValueError, match="Expected a frozen vision tower"):
            finetune(model, rows, (), CACHED, output, **QUIET)
    assert not output.exists()
    usage = shutil.disk_usage(tmp_path)
    full = usage._replace(free=12 * 384 - 1)
    monkeypatch.setattr("keras_pg2.finetuning.features.shutil", Disk(full))
    with pytest.raises(OSError, match=r"room for image features of 4\.6 kB.*--resume"):
        finetune(decoder_model(), rows, (), CACHED, output, **QUIET)
    monkeypatch.undo()
    done = finetune(decoder_model(), rows, (), CACHED, output, resume=True, **QUIET)
    assert done.is_finished


class Disk:
    """Stands for `shutil` on a disk with so much room."""

    def __init__(self, usage: Any) -> None:
        self.usage = usage

    def disk_usage(self, path: Path) -> Any:
        return self.usage


@pytest.mark.one_backend("which variables train")
@pytest.mark.parametrize(
    ("trained", "freezes_vision", "is_frozen"),
    [
        (Trained(), False, False),
        (Trained(), True, True),
        (Trained(freeze=["vision"]), False, True),
        (Trained(parts=["vision", "decoder"]), True, False),
        (Trained(parts=["decoder", "projection"]), False, True),
        (Trained(targets=["*_dense"]), False, False),
        (Trained(targets=["text_decoder/*"]), False, True),
        (Trained(full=True), False, False),
        (Trained(full=True), True, True),
        (Trained(full=True, freeze=["vision"]), False, True),
    ],
)
def test_options_by_which_the_vision_tower_is_frozen(
    trained, freezes_vision, is_frozen
):
    model = random_task()
    architecture = model.backbone.architecture
    if is_frozen:
        trained.check_vision_is_frozen(architecture, freezes_vision)
    else:
        with pytest.raises(ValueError, match="--cache-features"):
            trained.check_vision_is_frozen(architecture, freezes_vision)
    # The options do to a model what was said of them.
    trained.apply(model, freezes_vision)
    assert bool(model.backbone.vision_encoder.trainable_variables) != is_frozen
