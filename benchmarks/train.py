"""Training steps with the same weights in keras_pg2, KerasHub and transformers + peft.

    python -m benchmarks.train                       # 290M parameters, float32
    python -m benchmarks.train --settings lora --steps 5
    python -m benchmarks.train --shape tiny          # in seconds

A checkpoint of random weights and LoRA factors (random A, B of zeros) are written once;
each side then trains in a process of its own, one after another. Settings: `lora` (rank
8 on queries and values of image encoder and decoder), `lora_checkpointed` (the same,
blocks computed again in backward) and `full` (every weight). Measured on each side:

- step_s: median seconds of a step, the first two left out, as they compile;
- step_cpu_s: the same in processor seconds of the process, user and system;
- first_step_s: seconds of the first step;
- peak_gb: peak resident memory of the process in training, libraries included, but
  TensorFlow, which no side needs and two would import (Linux);
- losses: of the first steps, mean over the tokens of responses.

What can be the same is the same: rows, Adam with Keras' epsilon (PyTorch's is
corrected to it), and the loss: ours and transformers' is the mean over response tokens,
KerasHub's the mean over all text tokens, whose weights are multiplied for that.
KerasHub's LoRA in the decoder has an A for every head and one B, so its losses are the
same in the first step alone; in full fine-tuning they are the same throughout.
transformers has 64 more rows in its vocabulary, which add 2e-5 of the loss. A side that
fails is reported with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size import write_checkpoint
from benchmarks.sides import SHAPES, architecture_of
from benchmarks.training_sides import LOADERS, SETTINGS, make_rows, write_factors

SIDES = ("keras_pg2:jax", "keras_hub:jax", "transformers:torch", "keras_pg2:torch")
NUM_COMPILING = 2
NUM_LOSSES = 20
FIGURES = ("step_s", "step_cpu_s", "first_step_s", "peak_gb")
SAME = 1e-4
"""Losses that differ by less, relatively, are called the same."""


def measure_side(side: str, setting: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one side, in this process."""
    architecture = architecture_of(args.shape)
    rows = make_rows(
        architecture, args.batch_size, args.text_length, args.num_responses
    )
    directory = args.directory
    load = LOADERS[side.split(":")[0]]
    train = load(directory / "checkpoint", directory / "peft", SETTINGS[setting], rows)
    forget_peak()
    losses: list[float] = []
    times = [_now()]

    def on_step(loss: float) -> None:
        losses.append(loss)
        times.append(_now())

    train(args.steps, on_step)
    steps = np.diff(np.array(times), axis=0)
    seconds, cpu_seconds = steps[NUM_COMPILING:].T
    return {
        "step_s": statistics.median(seconds),
        "step_cpu_s": statistics.median(cpu_seconds),
        "first_step_s": steps[0, 0],
        "peak_gb": memory("VmHWM") / 1e9,
        "losses": losses[:NUM_LOSSES],
    }


_WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
runpy.run_module("benchmarks.train", run_name="__main__", alter_sys=True)
"""
"""KerasHub imports it where it is installed; no side trains with it."""


def _now() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def memory(name: str) -> int:
    """Bytes of an entry of this process's status, as VmRSS or VmHWM (the peak)."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def forget_peak() -> None:
    """Lets VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def run_child(
    side: str, setting: str, args: argparse.Namespace, directory: Path
) -> dict[str, Any]:
    """One side in a process of its own: its figures, or the error it ended with."""
    command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, *args.passed]
    command += ["--child", side, "--setting", setting, "--directory", str(directory)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": side.split(":")[1],
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # What is kept on disk from an earlier run would hide the compilation.
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        # The last error, whose message may go on behind a blank line.
        found = re.split(r"^(?=[\w.]*(?:Error|Exception): )", done.stderr, flags=re.M)
        return {"error": " ".join(found[-1].split())[:200]}
    return json.loads(done.stdout.splitlines()[-1])


def same_losses(ours: list[float], theirs: list[float]) -> int:
    """How many first losses of two sides are the same."""
    are_close = np.isclose(ours, theirs, rtol=SAME, atol=0.0)
    return int(np.argmin([*are_close, False]))


def print_table(setting: str, figures: dict[str, dict[str, Any]]) -> None:
    """Figures, ratios of each side to the first, and losses that are the same."""
    print(f"\n{setting:22}" + "".join(f"{name:>22}" for name in (*FIGURES, "losses")))
    first = next((each for each in figures.values() if "error" not in each), None)
    for side, each in figures.items():
        if "error" in each or first is None:
            print(f"{side:22}  fails: {each['error']}")
            continue
        cells = [
            f"{each[name]:10.4g} ({each[name] / first[name]:7.2f}x)" for name in FIGURES
        ]
        num_same = same_losses(first["losses"], each["losses"])
        cells.append(f"{num_same} of {len(each['losses'])} the same")
        print(f"{side:22}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    """Measures all sides in turn and prints tables; --output keeps them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="290m")
    parser.add_argument("--sides", default=",".join(SIDES), help="package:backend,...")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--steps", type=int, default=NUM_LOSSES)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--text-length", type=int, default=64)
    parser.add_argument("--num-responses", type=int, default=32)
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--directory", type=Path, help="where files are, or will be")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps <= NUM_COMPILING:
        parser.error(f"expected --steps above {NUM_COMPILING}, which compile")
    if args.child:
        print(json.dumps(measure_side(args.child, args.setting, args)))
        return
    args.passed = list(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        directory = args.directory or Path(folder)
        architecture = architecture_of(args.shape)
        if not (directory / "checkpoint").exists():
            write_checkpoint(directory / "checkpoint", architecture, "float32")
            write_factors(directory / "peft", architecture)
        record: dict[str, Any] = {"shape": args.shape, "settings": {}}
        for setting in args.settings.split(","):
            figures = record["settings"][setting] = {}
            for side in args.sides.split(","):
                figures[side] = run_child(side, setting, args, directory)
                print(f"{setting} {side}: {json.dumps(figures[side])}", flush=True)
                if args.output is not None:
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    args.output.write_text(json.dumps(record, indent=2) + "\n")
    for setting, figures in record["settings"].items():
        print_table(setting, figures)


if __name__ == "__main__":
    main()
