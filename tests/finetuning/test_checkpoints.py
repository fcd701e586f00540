"""Checkpoints: whole or not there, whatever happens while they are written."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.finetuning.checkpoints import (
    DivergedError,
    read_progress,
    restore_state,
    write_checkpoint,
)
from keras_pg2.finetuning.logs import StepLog, read_log
from keras_pg2.finetuning.steps import Step
from tests.support.finetuning_runs import make_model
from tests.support.small_disk import small_disk


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    model = make_model()
    optimizer = keras.optimizers.Adam(1e-3)
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)
    return model


def fill(model: PaliGemma2CausalLM, value: float) -> None:
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        variable.assign(np.full(variable.shape, value, variable.dtype))


def values(model: PaliGemma2CausalLM) -> set[float]:
    variables = [*model.trainable_variables, *model.optimizer.variables[2:]]
    arrays = [keras.ops.convert_to_numpy(variable) for variable in variables]
    return {float(value) for array in arrays for value in array.reshape(-1)}


def test_a_full_disk_leaves_the_checkpoint_before(model, tmp_path):
    last = tmp_path / "last"
    fill(model, 1.0)
    write_checkpoint(last, model, {"step": 1})
    fill(model, 2.0)
    size = (last / "state.safetensors").stat().st_size
    with (
        small_disk(size // 2),
        pytest.raises(OSError, match=r"step 1 stays.*--resume"),
    ):
        write_checkpoint(last, model, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert read_progress(last) == {"step": 1}
    restore_state(last, model)
    assert values(model) == {1.0}
    fill(model, 2.0)
    write_checkpoint(last, model, {"step": 2})
    restore_state(last, model)
    assert values(model) == {2.0}


def test_no_weights_that_are_no_numbers_take_the_place_of_good_ones(model, tmp_path):
    last = tmp_path / "last"
    fill(model, 1.0)
    write_checkpoint(last, model, {"step": 1})
    [first, *_] = model.trainable_variables
    first.assign(np.full(first.shape, np.nan, np.float32))
    with pytest.raises(DivergedError, match="finite"):
        write_checkpoint(last, model, {"step": 2})
    restore_state(last, model)
    assert values(model) == {1.0}


def test_a_checkpoint_of_another_network_changes_nothing(model, tmp_path):
    fill(model, 1.0)
    write_checkpoint(tmp_path / "last", model, {"step": 1}, with_optimizer=False)
    fill(model, 2.0)
    with pytest.raises(ValueError, match="optimizer/0 missing"):
        restore_state(tmp_path / "last", model)
    assert values(model) == {2.0}


def test_the_state_of_the_noise_comes_back(model, tmp_path):
    fill(model, 1.0)
    state = model.backbone.text_decoder.noise.generator.state
    state.assign(np.array([5, 3]))
    write_checkpoint(tmp_path / "last", model, {"step": 1})
    state.assign(np.array([6, 9]))
    restore_state(tmp_path / "last", model)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(state), [5, 3])


def test_a_log_has_each_step_once(tmp_path: Path):
    path = tmp_path / "log.csv"
    steps = [Step(i, 1, 0.1 * i, 0.5, 1e-3, 0.25) for i in range(1, 6)]
    log = StepLog(path, 0)
    for step in steps:
        log.add(step)
    log.close()
    text = path.read_text()
    assert text.splitlines()[0] == "step,epoch,loss,accuracy,learning_rate,seconds"
    for cut in ("", "6", "6,1,0.1,0.5,0.001,0.2", "6,1,0.1,"):
        path.write_text(text + cut)
        assert read_log(path) == steps
    log = StepLog(path, 3)
    log.add(steps[3])
    log.close()
    assert read_log(path) == steps[:4]
    # An empty file, or half a header, is of a run that was killed at once.
    for start in ("", "step,ep"):
        path.write_text(start)
        assert read_log(path) == []
