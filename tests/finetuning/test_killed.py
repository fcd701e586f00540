"""Killed at any moment, the command goes on to the numbers it would have had.

A run takes a while, so this is done where KERAS_PG2_KILLED_RUNS says how often to kill.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import keras_pg2
from keras_pg2.conversion.adapters.files import read_adapter
from keras_pg2.finetuning.logs import read_log
from tests.support.finetuning_runs import make_rows

NUM_KILLS = int(os.environ.get("KERAS_PG2_KILLED_RUNS", "0"))
COMMAND = (
    "import sys; sys.argv[0] = 'keras-pg2'; from keras_pg2.cli import main; main()"
)


@pytest.mark.skipif(not NUM_KILLS, reason="KERAS_PG2_KILLED_RUNS is not set")
def test_killed_runs_come_to_the_same_numbers(tmp_path: Path):
    rows = make_rows(tmp_path / "pictures", 40)
    data = tmp_path / "rows.jsonl"
    with data.open("w") as file:
        for row in rows:
            line = {
                "image": row["images"],
                "prefix": row["prompts"],
                "suffix": row["responses"],
            }
            file.write(json.dumps(line) + "\n")
    words = ["finetune", "--data", str(data), "--eval-share", "0.2", "--augment"]
    words += ["--epochs", "3", "--batch-size", "2", "--accumulate", "3"]
    words += ["--learning-rate", "1e-3", "--checkpoint-steps", "2"]
    words += ["--eval-rows", "4"]
    root = str(Path(keras_pg2.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}

    def start(output: Path, *more: str) -> subprocess.Popen:
        command = [sys.executable, "-c", COMMAND, *words, "--output", str(output)]
        return subprocess.Popen(
            [*command, *more],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(whole).wait() == 0
    wanted = read_log(whole / "log.csv")
    rng = np.random.default_rng()
    for number in range(NUM_KILLS):
        # After a step somewhere in its part of the run, and somewhere in the next one.
        step = int(len(wanted) * (number + rng.uniform(0.1, 0.9)) / NUM_KILLS)
        process = start(parts, *(["--resume"] if number else []))
        while process.poll() is None:
            log = parts / "log.csv"
            if log.exists() and log.read_bytes().count(b"\n") > step:
                time.sleep(rng.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.01)
        assert process.returncode == -signal.SIGKILL
        adapters = list(parts.glob("*/adapter.safetensors"))
        assert adapters
        for path in adapters:
            read_adapter(path)
    assert start(parts, "--resume").wait() == 0
    found = read_log(parts / "log.csv")
    assert [one.step for one in found] == [*range(1, len(wanted) + 1)]
    numbers = [[one[:-1] for one in steps] for steps in (found, wanted)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-6)
    layers = [
        read_adapter(run / "adapter.safetensors").layers for run in (parts, whole)
    ]
    for path, factors in layers[0].items():
        np.testing.assert_allclose(factors.a, layers[1][path].a, rtol=0, atol=1e-6)
        np.testing.assert_allclose(factors.b, layers[1][path].b, rtol=0, atol=1e-6)
    ends = [
        json.loads((run / "last" / "progress.json").read_text())["evaluations"]
        for run in (parts, whole)
    ]
    assert [one["step"] for one in ends[0]] == [one["step"] for one in ends[1]]
    losses = [[one["loss"] for one in end] for end in ends]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-6)
