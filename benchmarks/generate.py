"""Generation with the same weights in keras_pg2, KerasHub and transformers.

    python -m benchmarks.generate                       # 290M parameters, float32
    python -m benchmarks.generate --shape 3b --dtype bfloat16 --sides keras_pg2:jax
    python -m benchmarks.generate --shape 3b --dtype bfloat16 --compiled   # on a GPU

A checkpoint of random weights is written once; each side then loads it in a process of
its own, one after another, and all of them again in every further round. Measured, each
as a median:

- default: one picture, a prompt of 8 tokens and no length given, so 512 text tokens at
  most, until an end token comes as the 16th token;
- first token, seconds a token: the same prompt, with exact lengths;
- share: of the time a token takes, what reading the decoder's weights takes at the
  memory bandwidth measured just before and after it;
- ragged: 16 pictures with prompts of 4 to 60 tokens, 16 new tokens each (KerasHub's
  text as short as it may be);
- compiling: the first default call against the later ones.

KerasHub is given rows of one length only by padding, and its answers to ragged rows
are not those of the rows alone (`python -m benchmarks.ragged_batch`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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
from benchmarks.limits import gpu_limits, matrix_rate, read_bandwidth
from benchmarks.sides import (
    LOADERS,
    SHAPES,
    Generate,
    Inputs,
    architecture_of,
    make_inputs,
)

SIDES = (
    "keras_pg2:jax",
    "keras_hub:jax",
    "transformers:torch",
    "keras_pg2:torch",
    "keras_hub:torch",
    "keras_pg2:tensorflow",
)
PROMPT_LENGTH, NUM_NEW, NUM_TIMED = 8, 16, 32
RAGGED_LENGTHS = (4, 60, 9, 33, 17, 25, 8, 51, 12, 40, 6, 29, 14, 46, 21, 37)


def measure_side(side: str, args: argparse.Namespace, directory: Path) -> dict:
    """All figures of one side, in this process."""
    generate = LOADERS[side.split(":")[0]](directory, args.dtype)
    architecture = architecture_of(args.shape)
    one, stop = _prompt_with_a_stop(generate, architecture, args)

    def seconds(inputs: Inputs, count: int, stop: int | None, exact: bool) -> float:
        start = time.perf_counter()
        generate(inputs, count, stop, exact)
        return time.perf_counter() - start

    def median(*call: Any) -> float:
        seconds(*call)
        return statistics.median(seconds(*call) for _ in range(args.runs))

    first_call = seconds(one, NUM_NEW, stop, False)
    default = statistics.median(
        seconds(one, NUM_NEW, stop, False) for _ in range(args.runs)
    )
    figures = {
        "tokens": generate(one, NUM_NEW, None, True)[0].tolist(),
        "default_s": default,
        "compiling_s": first_call - default,
        **token_figures(
            seconds, one, args.runs, decoder_bytes(architecture, args.dtype)
        ),
    }
    for size in args.batch_sizes:
        batch = make_inputs(architecture, (PROMPT_LENGTH,) * size, seed=2)
        start = median(batch, 1, None, True)
        whole = median(batch, 1 + NUM_TIMED, None, True)
        figures[f"tokens_per_s_batch_{size}"] = size * NUM_TIMED / (whole - start)
        figures[f"first_token_s_batch_{size}"] = start
    if not args.no_ragged:
        ragged = make_inputs(architecture, RAGGED_LENGTHS, seed=1)
        num_tokens = len(RAGGED_LENGTHS) * NUM_NEW
        figures["ragged_tokens_per_s"] = num_tokens / median(
            ragged, NUM_NEW, None, True
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_gb"] = peak / 1e6
    return figures


def token_figures(
    seconds: Any, inputs: Inputs, num_runs: int, num_bytes: int
) -> dict[str, float]:
    """A short and a long answer in turn, and the bandwidth around them."""
    for count in (1, 1 + NUM_TIMED):
        seconds(inputs, count, None, True)
    firsts, tokens, bandwidths, shares = [], [], [], []
    for _ in range(num_runs):
        before = read_bandwidth()
        first = seconds(inputs, 1, None, True)
        token = (seconds(inputs, 1 + NUM_TIMED, None, True) - first) / NUM_TIMED
        bandwidth = max(before, read_bandwidth())
        firsts.append(first)
        tokens.append(token)
        bandwidths.append(bandwidth)
        shares.append(num_bytes / bandwidth / token)
    return {
        "first_token_s": statistics.median(firsts),
        "token_s": statistics.median(tokens),
        "read_gb_per_s": statistics.median(bandwidths) / 1e9,
        "share_of_reading": statistics.median(shares),
    }


def _prompt_with_a_stop(
    generate: Generate, architecture: dict[str, Any], args: argparse.Namespace
) -> tuple[Inputs, int | None]:
    """A prompt whose 16th token is new, so that it can be its end token.

    The prompt is searched for by the first side that runs, and told to the others.
    """
    if args.prompt_seed is not None:
        return make_inputs(architecture, (PROMPT_LENGTH,), args.prompt_seed), args.stop
    for seed in range(200):
        inputs = make_inputs(architecture, (PROMPT_LENGTH,), seed)
        tokens = generate(inputs, NUM_NEW, None, True)[0, :NUM_NEW].tolist()
        if tokens[-1] not in tokens[:-1]:
            args.prompt_seed, args.stop = seed, tokens[-1]
            return inputs, tokens[-1]
    raise RuntimeError("Expected a prompt whose 16th token is a new one; found none.")


def decoder_bytes(architecture: dict[str, Any], dtype: str) -> int:
    """Bytes of weights that are read for every token."""
    from keras_pg2.catalogue.architecture import variable_shapes

    shapes = variable_shapes(**architecture)
    count = sum(
        int(np.prod(shape))
        for name, shape in shapes.items()
        if name.startswith("text_decoder")
    )
    return count * (4 if dtype == "float32" else 2)


def run_child(side: str, args: argparse.Namespace, directory: Path) -> dict:
    """One side in a process of its own."""
    backend = side.split(":")[1]
    command = [sys.executable, "-m", "benchmarks.generate", *args.passed]
    command += ["--child", side, "--directory", str(directory)]
    if args.prompt_seed is not None:
        command += ["--prompt-seed", str(args.prompt_seed), "--stop", str(args.stop)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # What is kept on disk from an earlier run would hide the compilation.
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def print_tables(rounds: list[dict[str, dict]], num_bytes: int) -> None:
    """Medians of all rounds, and the ratios to the first side within each round."""
    sides = list(rounds[0])
    first = sides[0]
    names = [name for name in rounds[0][first] if name != "tokens"]

    def table(title: str, value: Any) -> None:
        print(f"\n{title:24}" + "".join(f"{name:>17.16}" for name in names))
        for side in sides:
            row = "".join(f"{value(side, name):17.4g}" for name in names)
            print(f"{side:24}{row}")

    table(
        "median of the rounds",
        lambda side, name: statistics.median(each[side][name] for each in rounds),
    )
    for number, each in enumerate(rounds, start=1):

        def ratio(side: str, name: str, each: dict = each) -> float:
            return each[side][name] / (each[first][name] or float("nan"))

        table(f"round {number}: ratio to the first", ratio)
    print(f"\na token reads {num_bytes / 1e9:.3f} GB of weights of the decoder")
    answers = {
        tuple(figures["tokens"][:NUM_NEW]) for r in rounds for figures in r.values()
    }
    print(f"all sides say the same {NUM_NEW} tokens: {len(answers) == 1}")


def main() -> None:
    """Measures all sides in turn and prints tables; --output keeps them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="290m")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sides", default=",".join(SIDES), help="package:backend,...")
    parser.add_argument("--compiled", action="store_true", help="transformers, twice")
    parser.add_argument("--rounds", type=int, default=2, help="of all sides")
    parser.add_argument("--runs", type=int, default=5, help="timed calls of a kind")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[])
    parser.add_argument("--no-ragged", action="store_true")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--directory", type=Path, help="a written checkpoint")
    for name in ("--child", "--prompt-seed", "--stop"):
        kind = str if name == "--child" else int
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        figures = measure_side(args.child, args, args.directory)
        seed = {"prompt_seed": args.prompt_seed, "stop": args.stop}
        print(json.dumps({"figures": figures, **seed}))
        return
    args.passed = list(sys.argv[1:])
    sides = args.sides.split(",")
    if args.compiled:
        sides.append("transformers_compiled:torch")
    architecture = architecture_of(args.shape)
    num_bytes = decoder_bytes(architecture, args.dtype)
    record: dict[str, Any] = {
        "machine": _machine(),
        "shape": args.shape,
        "dtype": args.dtype,
        "bytes_per_token": num_bytes,
        "rounds": [],
    }
    rounds = record["rounds"]
    with tempfile.TemporaryDirectory() as folder:
        directory = args.directory or Path(folder) / "checkpoint"
        if args.directory is None:
            write_checkpoint(directory, architecture, args.dtype)
        for _ in range(args.rounds):
            rounds.append({})
            for side in sides:
                result = run_child(side, args, directory)
                rounds[-1][side] = result["figures"]
                args.prompt_seed, args.stop = result["prompt_seed"], result["stop"]
                print(f"{side}: {json.dumps(result['figures'])}", flush=True)
                if args.output is not None:
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    args.output.write_text(json.dumps(record, indent=2) + "\n")
    print_tables(rounds, num_bytes)
    print(f"machine: {record['machine']}")


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "operations_per_s": matrix_rate(),
        **_gpu(),
    }


def _processor() -> str:
    """As the kernel calls it, where it says so."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _gpu() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "gpu_limits": gpu_limits()}


if __name__ == "__main__":
    main()
