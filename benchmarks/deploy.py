"""Exported files beside the models in memory they come from.

    python -m benchmarks.deploy [--shape 290m] [--sides keras_pg2:jax,litert:int8,...]

A checkpoint of random weights is exported by each format and quantization, and loaded
again in a process of its own. For each side:

- bytes of its files, seconds and peak memory of making them;
- seconds until it is loaded and until a first token is there;
- then, of several runs, seconds to the first token (picture, prompt of 8 tokens) and
  for each one after, and which share of the memory bandwidth, measured just before
  and after, the weights that a token reads are;
- peak resident memory of the process that answers, libraries and all;
- to how many pictures the whole answer, and its first token, are the first side's (an
  answer of a quantised random network wanders off at some token).

Formats are litert and onnx, with the quantizations float32, float16, int8 and int4, and
saved_model:float32. The graph of a SavedModel makes a whole answer, of a number of
tokens that is its own, so there are two of them, to one token and to all, and its peak
is that of both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.full_size import write_checkpoint
from benchmarks.generate import NUM_NEW, NUM_TIMED, PROMPT_LENGTH, token_figures
from benchmarks.sides import (
    LOADERS,
    SHAPES,
    Generate,
    Inputs,
    architecture_of,
    make_inputs,
)
from keras_pg2.catalogue.architecture import variable_shapes

QUANTIZED_FORMATS = ("litert", "onnx")
FORMATS = (*QUANTIZED_FORMATS, "saved_model")
LENGTHS = (1, 1 + NUM_TIMED)
"""Of answers of SavedModels."""
QUANTIZATIONS = ("float32", "float16", "int8", "int4")
SIDES = (
    "keras_pg2:jax",
    "keras_pg2:tensorflow",
    "keras_pg2:torch",
    "saved_model:float32",
    *(f"{name}:{kind}" for name in QUANTIZED_FORMATS for kind in QUANTIZATIONS),
)


def export(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """Writes a side's files, in this process."""
    from keras_pg2 import (
        PaliGemma2CausalLM,
        PaliGemma2CausalLMPreprocessor,
        PaliGemma2ImageConverter,
        deploy,
    )
    from keras_pg2.tasks.loading.loading import load_parts

    name, kind = side.split(":")
    write = getattr(deploy, f"export_{name}")
    backbone, _ = load_parts(str(args.directory / "checkpoint"), dtype=args.dtype)
    size = backbone.image_size
    # The vocabulary is too small for the table: prompts are made of ids.
    _, nano = load_parts("pali_gemma2_nano")
    preprocessor = PaliGemma2CausalLMPreprocessor(
        nano.tokenizer, PaliGemma2ImageConverter(image_size=(size, size))
    )
    model = PaliGemma2CausalLM(backbone, preprocessor)
    loaded, start = peak_bytes(), time.perf_counter()
    target = args.directory / side.replace(":", "_")
    if name == "saved_model":
        for length in LENGTHS[:-1]:
            write(model, target / str(length), length, PROMPT_LENGTH)
        start, target = time.perf_counter(), target / str(LENGTHS[-1])
        comparison = write(model, target, LENGTHS[-1], PROMPT_LENGTH)
    else:
        comparison = write(model, target, None if kind == "float32" else kind)
    num_bytes = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    return {
        "file_mb": num_bytes / 1e6,
        "export_s": time.perf_counter() - start,
        "model_gb": loaded / 1e9,
        "comparison": str(comparison),
    }


def load_exported(directory: Path, name: str) -> Generate:
    """A function that answers by exported files alone."""
    from keras_pg2 import deploy

    if name == "saved_model":
        return load_saved_models(directory)
    runner = getattr(deploy, {"litert": "LiteRTModel", "onnx": "ONNXModel"}[name])(
        directory
    )

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        features = runner.encode_pixels(inputs["images"])
        [token_ids] = inputs["token_ids"].tolist()
        return np.array([list(runner.generate_tokens(features, token_ids, count))])

    return generate


def load_saved_models(directory: Path) -> Generate:
    """A function that answers by the SavedModel with the least tokens that will do."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  Its operations are in the graph.

    loaded = {}

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        length = next(length for length in LENGTHS if length >= count)
        if length not in loaded:
            loaded[length] = tf.saved_model.load(str(directory / str(length)))
        token_ids = loaded[length].signatures["generate_ids"](
            pixels=tf.constant(inputs["images"]),
            token_ids=tf.constant(inputs["token_ids"]),
            padding_mask=tf.constant(inputs["padding_mask"]),
        )["token_ids"]
        return token_ids.numpy()[:, :count]

    return generate


def answer(side: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a side that answers, in this process."""
    name, kind = side.split(":")
    architecture = architecture_of(args.shape)
    inputs = make_inputs(architecture, (PROMPT_LENGTH,), seed=0)
    start = time.perf_counter()
    if name in FORMATS:
        generate = load_exported(args.directory / f"{name}_{kind}", name)
    else:
        generate = LOADERS[name](args.directory / "checkpoint", args.dtype)
        kind = args.dtype
    loaded = time.perf_counter()
    generate(inputs, 1, None, True)
    first = time.perf_counter()

    def seconds(inputs: Inputs, count: int, stop: int | None, exact: bool) -> float:
        start = time.perf_counter()
        generate(inputs, count, stop, exact)
        return time.perf_counter() - start

    tokens = [
        generate(make_inputs(architecture, (PROMPT_LENGTH,), seed), NUM_NEW, None, True)
        for seed in range(args.pictures)
    ]
    peak = peak_bytes()  # Before the bandwidth is measured, on arrays of its own.
    figures = {
        "load_s": loaded - start,
        "load_to_first_token_s": first - start,
        "peak_gb": peak / 1e9,
        "tokens": [answer[0, :NUM_NEW].tolist() for answer in tokens],
    }
    if args.runs:
        num_bytes = token_bytes(architecture, kind)
        figures |= token_figures(seconds, inputs, args.runs, num_bytes)
    return figures


def token_bytes(architecture: dict[str, Any], kind: str) -> int:
    """Bytes of weights that are read for a token of an answer."""
    bits = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 8}[kind]
    total = 0
    for path, shape in variable_shapes(**architecture).items():
        if path.startswith("text_decoder/"):
            is_small = kind == "int4" and "/mlp/" in path
            total += int(np.prod(shape)) * (4 if is_small else bits) // 8
    return total


def peak_bytes() -> int:
    """Most memory that this process has had; what came before its `exec` left out."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def run_child(step: str, side: str, args: argparse.Namespace) -> dict[str, Any]:
    """One step of a side in a process of its own; its error where it fails."""
    name, kind = side.split(":")
    start = "from benchmarks.deploy import main; main()"
    if step == "answer" and name in QUANTIZED_FORMATS:
        # As where it is not installed; TensorFlow Text would import it.
        start = f"import sys; sys.modules.update(keras=None); {start}"
    command = [sys.executable, "-c", start, "--child", step, side]
    command += ["--shape", args.shape, "--dtype", args.dtype, "--runs", str(args.runs)]
    command += ["--directory", str(args.directory), "--pictures", str(args.pictures)]
    backend = "jax" if name in FORMATS else kind
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    with tempfile.TemporaryFile("w+") as output:
        child = psutil.Popen(command, env=environment, stdout=output)
        peak = 0
        while child.poll() is None:
            peak = max(peak, tree_bytes(child))
            time.sleep(0.1)
        if child.returncode:
            return {"error": f"exit code {child.returncode}"}
        output.seek(0)
        figures = json.loads(output.read().splitlines()[-1])
    return {**figures, f"{step}_peak_gb": peak / 1e9}


def tree_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and those that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = [process, *process.children(recursive=True)]
        return sum(each.memory_info().rss for each in processes)
    return 0


def print_table(sides: dict[str, dict[str, Any]]) -> None:
    """A row for each side; last, how many answers and first tokens are the same."""
    names = ["file_mb", "export_s", "export_peak_gb", "load_s", "load_to_first_token_s"]
    names += ["first_token_s", "token_s", "share_of_reading", "peak_gb"]
    print(f"\n{'':22}" + "".join(f"{name.replace('_', ' '):>22}" for name in names))
    first = next(iter(sides.values()))
    for side, figures in sides.items():
        if "error" in figures:
            print(f"{side:22} fails: {figures['error']}")
            continue
        row = "".join(f"{figures.get(name, float('nan')):22.4g}" for name in names)
        pairs = list(zip(figures["tokens"], first.get("tokens", [])))
        same = sum(a == b for a, b in pairs)
        starts = sum(a[:1] == b[:1] for a, b in pairs)
        print(f"{side:22}{row}   {same} and {starts} of {len(pairs)}")


def main() -> None:
    """Exports and measures all sides in turn; --output keeps the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="290m")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sides", default=",".join(SIDES), help="what:kind,...")
    parser.add_argument("--runs", type=int, default=3, help="timed; 0 for one answer")
    parser.add_argument("--pictures", type=int, default=10, help="of other answers")
    parser.add_argument("--directory", type=Path, help="for the files; kept")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        step, side = args.child
        print(json.dumps({"export": export, "answer": answer}[step](side, args)))
        return
    with tempfile.TemporaryDirectory(prefix="deploy_") as scratch:
        args.directory = args.directory or Path(scratch)
        if not (args.directory / "checkpoint").is_dir():
            architecture = architecture_of(args.shape)
            write_checkpoint(args.directory / "checkpoint", architecture, args.dtype)
        results: dict[str, dict[str, Any]] = {}
        for side in args.sides.split(","):
            figures: dict[str, Any] = {}
            target = args.directory / side.replace(":", "_")
            if side.split(":")[0] in FORMATS and not target.is_dir():
                figures = run_child("export", side, args)
            if "error" not in figures:
                figures |= run_child("answer", side, args)
            results[side] = figures
            print(f"{side}: {json.dumps(figures)}", flush=True)
            if args.output:
                args.output.write_text(json.dumps(results, indent=2) + "\n")
        print_table(results)


if __name__ == "__main__":
    main()
