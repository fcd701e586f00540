"""Training with LoRA that was stopped goes on to the numbers of a run that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from keras_pg2 import PaliGemma2CausalLM
from tests.support.continued_runs import (
    ARCHIVE,
    EPOCHS,
    LOSSES,
    STOP,
    WEIGHTS,
    compile_for,
    fit,
    start,
)
from tests.support.tiny_models import random_task

pytestmark = pytest.mark.eager
Way = Callable[[Path], list[float]]


@pytest.fixture(scope="module")
def whole() -> dict[str, list[float]]:
    """Losses of the epochs after the stop, by optimizer, of a run without one."""
    losses = {name: fit(start(name), 0, EPOCHS) for name in ("adam", "sgd")}
    for values in losses.values():
        # Something is learnt, and something else in each epoch.
        assert values[-1] < 0.99 * values[0]
        assert len({round(value, 3) for value in values}) == EPOCHS
    return {name: values[STOP:] for name, values in losses.items()}


def by_backup(folder: Path) -> list[float]:
    path = str(folder / "backup")
    keep = keras.callbacks.BackupAndRestore(path, delete_checkpoint=False)
    fit(start(), 0, STOP, callbacks=[keep])
    return fit(start(), 0, EPOCHS, callbacks=[keras.callbacks.BackupAndRestore(path)])


def by_weights(folder: Path) -> list[float]:
    path = folder / WEIGHTS
    keep = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    fit(start(), 0, STOP, callbacks=[keep])
    model = start()
    model.load_weights(path)
    return fit(model, STOP, EPOCHS)


def by_archive(folder: Path) -> list[float]:
    path = folder / ARCHIVE
    fit(start(), 0, STOP, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    return fit(keras.saving.load_model(path), STOP, EPOCHS)


WAYS: dict[str, Way] = {
    "BackupAndRestore": by_backup,
    "ModelCheckpoint of weights": by_weights,
    "ModelCheckpoint of the model": by_archive,
}


@pytest.mark.parametrize("way", WAYS)
def test_with_the_states_of_the_optimizer(way, whole, tmp_path):
    assert WAYS[way](tmp_path) == pytest.approx(whole["adam"], rel=1e-5)


@pytest.mark.one_backend("which optimizer is built, and for what")
def test_by_an_index_after_something_else_was_trained(whole, tmp_path):
    first = start()
    fit(first, 0, STOP)
    first.save_weights(tmp_path / "half.weights.json", max_shard_size=1.6e-4)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    model = start()
    fit(model, 0, 1)
    model.enable_lora(2, alpha=3, name="another")
    model.load_weights(tmp_path / "half.weights.json")
    assert fit(model, STOP, EPOCHS) == pytest.approx(whole["adam"], rel=1e-5)


@pytest.mark.one_backend("which optimizer is built, and for what")
def test_weights_to_answer_with_take_no_memory_for_states(tmp_path):
    """All weights would train: they are no numbers of the file's optimizer."""
    first = start()
    fit(first, 0, 1)
    first.save_weights(tmp_path / WEIGHTS)
    model = random_task(sequence_length=24, num_layers=1)
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        model.load_weights(tmp_path / WEIGHTS)
    assert not model.optimizer.built
    model.enable_lora(2, alpha=3)
    without = PaliGemma2CausalLM(model.backbone, compile=False)
    without.load_weights(tmp_path / WEIGHTS)
    assert not without.compiled


def test_by_a_file_of_the_adapter(whole, tmp_path):
    """It has no states of the optimizer, and SGD has none that count."""
    model = start("sgd")
    fit(model, 0, STOP)
    model.adapters.save(tmp_path / "ours.safetensors")
    other = random_task(sequence_length=24, num_layers=1)
    other.adapters.load(tmp_path / "ours.safetensors")
    compile_for(other, "sgd")
    assert fit(other, STOP, EPOCHS) == pytest.approx(whole["sgd"], rel=1e-5)


def test_by_a_file_of_keras_hub(tmp_path):
    """`backbone.enable_lora` of KerasHub's guides, where the adapter is nameless."""
    model, other = (random_task(sequence_length=24, num_layers=1) for _ in range(2))
    model.backbone.enable_lora(2)
    compile_for(model, "sgd")
    fit(model, 0, STOP)
    model.backbone.save_lora_weights(tmp_path / "ours.lora.h5")
    other.backbone.load_lora_weights(tmp_path / "ours.lora.h5")
    compile_for(other, "sgd")
    expected = fit(model, STOP, EPOCHS)
    assert fit(other, STOP, EPOCHS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.one_backend("that numbers survive a file; the layer's are tested on all")
def test_beside_quantized_kernels(mode, tmp_path):
    def quantized() -> PaliGemma2CausalLM:
        model = start()
        model.quantize(mode)
        compile_for(model)
        return model

    model = quantized()
    fit(model, 0, STOP)
    model.save_weights(tmp_path / WEIGHTS)
    model.save(tmp_path / ARCHIVE)
    expected = fit(model, STOP, EPOCHS)
    other = quantized()
    other.load_weights(tmp_path / WEIGHTS)
    for again in (other, keras.saving.load_model(tmp_path / ARCHIVE)):
        assert fit(again, STOP, EPOCHS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch trains the first half"
)
def test_on_another_backend(tmp_path):
    """The first half in a process of PyTorch, which compiles nothing."""
    subprocess.run(
        [sys.executable, "-m", "tests.support.continued_runs", str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        cwd=Path(__file__).parents[3],
        check=True,
    )
    expected = json.loads((tmp_path / LOSSES).read_text())[STOP:]
    model = start()
    model.load_weights(tmp_path / WEIGHTS)
    # Adam divides by the size of gradients, so what rounds otherwise grows.
    assert fit(model, STOP, EPOCHS) == pytest.approx(expected, rel=1e-4)
    loaded = keras.saving.load_model(tmp_path / ARCHIVE)
    assert loaded.adapters.active == "ours"
    assert fit(loaded, STOP, EPOCHS) == pytest.approx(expected, rel=1e-4)
