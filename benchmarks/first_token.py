"""How long a process waits for its first token: with nothing on disk, and after that.

    KERAS_BACKEND=jax python -m benchmarks.first_token

The same call is made in two processes, one after another, with a folder for compiled
functions that is empty at first. Times are of the call (compiling included), and from
the start of the process (imports and weights included).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHILD = "KERAS_PG2_FIRST_TOKEN_CHILD"


def measure(directory: Path, shape: str) -> dict[str, float]:
    """In this process."""
    start = time.perf_counter()
    from benchmarks.sides import architecture_of, make_inputs
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype="float32")
    inputs = make_inputs(architecture_of(shape), (8,), seed=0)
    call = time.perf_counter()
    tokens = model.generate(
        inputs, max_new_tokens=1, stop_token_ids=None, strip_prompt=True
    )
    end = time.perf_counter()
    token = int(np.asarray(tokens["token_ids"])[0, 0])
    return {"call_s": end - call, "process_s": end - start, "token": token}


def main() -> None:
    """Runs both processes and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="290m")
    parser.add_argument("--directory", type=Path, help="a written checkpoint")
    args = parser.parse_args()
    if CHILD in os.environ:
        print(json.dumps(measure(args.directory, args.shape)))
        return
    from benchmarks.full_size import write_checkpoint
    from benchmarks.sides import architecture_of

    with tempfile.TemporaryDirectory() as folder:
        directory = args.directory or Path(folder) / "checkpoint"
        if args.directory is None:
            write_checkpoint(directory, architecture_of(args.shape), "float32")
        environment = {
            **os.environ,
            CHILD: "1",
            # Where the package puts what JAX compiles.
            "XDG_CACHE_HOME": str(Path(folder) / "cache"),
        }
        command = [sys.executable, "-m", "benchmarks.first_token"]
        command += ["--shape", args.shape, "--directory", str(directory)]
        results = []
        for _ in range(2):
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
    first, second = results
    print(f"{'':12}{'first':>10}{'second':>10}{'ratio':>8}")
    for name in ("call_s", "process_s"):
        ratio = second[name] / first[name]
        print(f"{name:12}{first[name]:10.2f}{second[name]:10.2f}{ratio:8.2f}")
    print(f"the same token: {first['token'] == second['token']}")


if __name__ == "__main__":
    main()
