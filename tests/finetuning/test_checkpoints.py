"""Checkpoints: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.finetuning.checkpoints import (
    DivergedError,
    read_progress,
    restore_state,
    restore_weights,
    write_checkpoint,
)
from keras_pg2.finetuning.logs import StepLog, read_log
from keras_pg2.finetuning.steps import Step
from tests.support.damaged_fields import DAMAGES, damaged, loads, named
from tests.support.finetuning_runs import make_model
from tests.support.small_disk import small_disk


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    model = make_model()
    optimizer = keras.optimizers.Adam(1e-3)
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)
    return model


def progress(step: int) -> dict[str, Any]:
    record = {name: {"of": name} for name in ("model", "data", "settings")}
    return {"step": step, "evaluations": [], "best": None, **record}


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
    write_checkpoint(last, model, progress(1))
    fill(model, 2.0)
    size = (last / "state.safetensors").stat().st_size
    with (
        small_disk(size // 2),
        pytest.raises(OSError, match=r"step 1 stays.*--resume"),
    ):
        write_checkpoint(last, model, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert read_progress(last) == progress(1)
    restore_state(last, model)
    assert values(model) == {1.0}
    fill(model, 2.0)
    write_checkpoint(last, model, progress(2))
    restore_state(last, model)
    assert values(model) == {2.0}


def test_no_weights_that_are_no_numbers_take_the_place_of_good_ones(model, tmp_path):
    last = tmp_path / "last"
    fill(model, 1.0)
    write_checkpoint(last, model, progress(1))
    [first, *_] = model.trainable_variables
    first.assign(np.full(first.shape, np.nan, np.float32))
    with pytest.raises(DivergedError, match="finite"):
        write_checkpoint(last, model, progress(2))
    restore_state(last, model)
    assert values(model) == {1.0}


def test_a_checkpoint_of_another_network_changes_nothing(model, tmp_path):
    fill(model, 1.0)
    write_checkpoint(tmp_path / "last", model, progress(1), with_optimizer=False)
    fill(model, 2.0)
    with pytest.raises(ValueError, match="optimizer/0 missing"):
        restore_state(tmp_path / "last", model)
    assert values(model) == {2.0}


def test_the_state_of_the_noise_comes_back(model, tmp_path):
    fill(model, 1.0)
    state = model.backbone.text_decoder.noise.generator.state
    state.assign(np.array([5, 3]))
    write_checkpoint(tmp_path / "last", model, progress(1))
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


def test_each_field_of_the_progress(tmp_path: Path):
    path = tmp_path / "progress.json"

    def read(content: Any) -> Any:
        path.write_text(json.dumps(content))
        return read_progress(tmp_path)

    one = {"step": 2, "epoch": 0.5, "metric": "exact_match"}
    one |= {"loss": 1.5, "accuracy": 0.25, "score": float("nan")}
    content = {**progress(3), "evaluations": [one], "best": one}
    assert str(read(content)) == str(content)
    fields = [(name,) for name in content]
    fields += [("evaluations", 0, name) for name in one]
    fields += [("best", name) for name in one]
    count, loaded = loads(read, damaged(content, fields), path)
    assert count == len(DAMAGES) * 18
    numbers = ["below 0", "0", "half", "2**63", "NaN", "infinity"]
    steps, parts = ["0"], ["evaluations.0", "best"]
    assert loaded == {
        *named("step", steps),
        *named("evaluations", ["list"]),
        "best: null",
        "best: missing",
        *[f"{name}: object" for name in ("model", "data", "settings")],
        *[each for part in parts for each in named(f"{part}.step", steps)],
        *[each for part in parts for each in named(f"{part}.epoch", ["0", "half"])],
        *[
            each
            for part in parts
            for name in ("loss", "accuracy", "score")
            for each in named(f"{part}.{name}", numbers)
        ],
    }


@pytest.mark.parametrize(
    "line",
    [
        "x,1,1,1,1,1",
        "1,1,1e308,1,1,1",
        f"{2**64},1,1,1,1,1",
        f"1,{'9' * 400},1,1,1,1",
        "1,1,1",
        "1,1,1,1,1,1,1",
        "",
        "9" * 5000 + ",1,1,1,1,1",
        '"1,2\0',
    ],
    ids=lambda line: line[:9],
)
def test_a_log_that_is_damaged_is_named(line: str, tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text(f"{','.join(Step._fields)}\n1,1,0.5,0.5,0.1,0.1\n{line}\n")
    with pytest.raises(ValueError, match=r"log\.csv, line 3"):
        read_log(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"log\.csv"):
        read_log(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("weights/0"), "weights/0 missing"),
        (
            lambda arrays: arrays.update({"weights/0": np.ones(3)}),
            r"0 \(3,\) of floats",
        ),
        (
            lambda arrays: arrays.update({"weights/0": arrays["weights/0"] * np.nan}),
            "weights/0 NaN or infinity",
        ),
        (
            lambda arrays: arrays.update(
                {"weights/0": arrays["weights/0"].astype("int32")}
            ),
            "of whole numbers, here .* of floats",
        ),
    ],
)
@pytest.mark.parametrize("restore", [restore_state, restore_weights])
def test_arrays_of_others_change_nothing(restore, change, message, model, tmp_path):
    fill(model, 1.0)
    write_checkpoint(tmp_path, model, progress(1))
    fill(model, 2.0)
    arrays = load_file(tmp_path / "state.safetensors")
    change(arrays)
    save_file(arrays, tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=message) as caught:
        restore(tmp_path, model)
    assert str(tmp_path) in str(caught.value)
    assert values(model) == {2.0}
