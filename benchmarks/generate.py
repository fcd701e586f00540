"""Generation with the same weights in keras_pg2, KerasHub and transformers.

    python -m benchmarks.generate                       # 290M parameters, float32
    python -m benchmarks.generate --shape 3b --dtype bfloat16 --sides keras_pg2:jax
    python -m benchmarks.generate --shape 3b --dtype bfloat16 --compiled   # on a GPU

A checkpoint of random weights is written once; each side then loads it in a process of
its own, one after another, and what the machine can do (reading memory, multiplying
matrices) is measured before and after them. Measured, each as a median:

- default: one picture, a prompt of 8 tokens and no length given, so 512 text tokens at
  most, until an end token comes as the 16th token;
- first token, seconds a token: the same prompt, with exact lengths;
- ragged: 16 pictures with prompts of 4 to 60 tokens, 16 new tokens each (KerasHub's
  text as short as it may be);
- compiling: the first default call against the later ones.

KerasHub is given rows of one length only by padding, and its answers to ragged rows
are not those of the rows alone (`python -m benchmarks.ragged_batch`).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size import write_checkpoint

GEMMA2 = {
    "vocabulary_size": 257_152,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 4096,
    "has_post_norms": True,
}
SHAPES: dict[str, Any] = {
    "tiny": {
        "vision_encoder": {
            "image_size": 28,
            "patch_size": 14,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 20,
        },
        "text_decoder": {
            **GEMMA2,
            "num_layers": 2,
            "num_query_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "hidden_dim": 24,
            "intermediate_dim": 40,
            "query_pre_attn_scalar": 8,
        },
    },
    "290m": {
        "vision_encoder": {
            "image_size": 224,
            "patch_size": 14,
            "num_layers": 12,
            "num_heads": 6,
            "hidden_dim": 384,
            "intermediate_dim": 1536,
        },
        "text_decoder": {
            **GEMMA2,
            "num_layers": 8,
            "num_query_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "hidden_dim": 768,
            "intermediate_dim": 3072,
            "query_pre_attn_scalar": 128,
        },
    },
    "3b": "pali_gemma2_pt_3b_224",
    "3b_896": "pali_gemma2_pt_3b_896",
    "28b": "pali_gemma2_pt_28b_224",
}
SIDES = (
    "keras_pg2:jax",
    "keras_hub:jax",
    "transformers:torch",
    "keras_pg2:torch",
    "keras_hub:torch",
    "keras_pg2:tensorflow",
)
TEXT_LENGTH = 512
"""What KerasHub pads to where nothing is said."""
PROMPT_LENGTH, NUM_NEW, NUM_TIMED = 8, 16, 32
RAGGED_LENGTHS = (4, 60, 9, 33, 17, 25, 8, 51, 12, 40, 6, 29, 14, 46, 21, 37)

Inputs = dict[str, np.ndarray]
Generate = Callable[[Inputs, int, int | None, bool], np.ndarray]
"""(inputs, most new tokens, stop token or None, whether lengths are exact) -> the new
tokens int[B, ...] and what a side puts behind them."""


def numbers_of(shape: str) -> dict[str, dict[str, Any]]:
    """The numbers of a network, of this file or of the catalogue."""
    from keras_pg2.presets import PRESETS

    known = SHAPES[shape]
    return PRESETS[known].numbers if isinstance(known, str) else known


def make_inputs(numbers: dict[str, Any], lengths: tuple[int, ...], seed: int) -> Inputs:
    """A picture and a random prompt a row, padded on the right."""
    rng = np.random.default_rng(seed)
    size = numbers["vision_encoder"]["image_size"]
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    token_ids = rng.integers(300, 200_000, mask.shape) * mask
    return {
        "images": rng.uniform(-1, 1, (len(lengths), size, size, 3)).astype("float32"),
        "token_ids": token_ids.astype("int32"),
        "padding_mask": mask,
    }


def load_keras_pg2(directory: Path, dtype: str) -> Generate:
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype=dtype)

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        length = {"max_new_tokens": count} if exact else {"max_length": TEXT_LENGTH}
        stops = None if stop is None else [stop]
        result = model.generate(
            inputs, stop_token_ids=stops, strip_prompt=True, **length
        )
        return result["token_ids"]

    return generate


def load_keras_hub(directory: Path, dtype: str) -> Generate:
    import keras_hub
    from keras import config, ops

    from keras_pg2.tasks.loading import load_parts
    from tests.parity.keras_hub_copy import copy_to_keras_hub

    config.set_dtype_policy(dtype)
    ours, _ = load_parts(str(directory), dtype=dtype)
    model = keras_hub.models.PaliGemmaCausalLM(None, copy_to_keras_hub(ours))
    del ours
    gc.collect()

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        length = inputs["token_ids"].shape[1]
        extra = count if exact else TEXT_LENGTH - length
        padded = {
            name: value
            if name == "images"
            else np.pad(value.astype("int32"), ((0, 0), (0, extra)))
            for name, value in inputs.items()
        }
        stops = None if stop is None else [stop]
        result = model.generate(padded, stop_token_ids=stops)
        # A row's answer begins behind its own prompt.
        tokens = ops.convert_to_numpy(result["token_ids"])
        starts = inputs["padding_mask"].sum(axis=1)
        places = starts[:, None] + np.arange(count)
        return np.take_along_axis(tokens, places, axis=1)

    return generate


def load_transformers(directory: Path, dtype: str, is_compiled: bool = False) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=getattr(torch, dtype)
    ).to(device)
    num_images = (model.config.vision_config.image_size // 14) ** 2
    options: dict[str, Any] = {"pad_token_id": 0, "do_sample": False}
    if is_compiled:
        options["cache_implementation"] = "static"

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        mask = inputs["padding_mask"]
        batch_size = len(mask)
        # Padding goes to the left, the image before the text.
        image = np.full((batch_size, num_images), model.config.image_token_id)
        real = np.concatenate([np.ones_like(image), mask], axis=1)
        ids = np.concatenate([image, inputs["token_ids"]], axis=1)
        order = np.argsort(real, axis=1, kind="stable")
        ids, real = (np.take_along_axis(x, order, axis=1) for x in (ids, real))
        pixels = inputs["images"].transpose(0, 3, 1, 2).copy()
        with torch.no_grad():
            output = model.generate(
                input_ids=torch.tensor(ids, device=device).long(),
                attention_mask=torch.tensor(real.astype("int64"), device=device),
                token_type_ids=torch.zeros_like(torch.tensor(ids, device=device)),
                pixel_values=torch.tensor(
                    pixels, device=device, dtype=getattr(torch, dtype)
                ),
                max_new_tokens=count if exact else TEXT_LENGTH - mask.shape[1],
                eos_token_id=stop,
                **options,
            )
        return output[:, ids.shape[1] :].cpu().numpy()

    return generate


def measure_side(side: str, args: argparse.Namespace, directory: Path) -> dict:
    """All figures of one side, in this process."""
    name = side.split(":")[0]
    loaders: dict[str, Callable[[Path, str], Generate]] = {
        "keras_pg2": load_keras_pg2,
        "keras_hub": load_keras_hub,
        "transformers": load_transformers,
        "transformers_compiled": lambda d, t: load_transformers(d, t, is_compiled=True),
    }
    generate = loaders[name](directory, args.dtype)
    numbers = numbers_of(args.shape)
    one, stop = _prompt_with_a_stop(generate, numbers, args)

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
    first_token = median(one, 1, None, True)
    many = median(one, 1 + NUM_TIMED, None, True)
    figures = {
        "tokens": generate(one, NUM_NEW, None, True)[0].tolist(),
        "default_s": default,
        "compiling_s": first_call - default,
        "first_token_s": first_token,
        "token_s": (many - first_token) / NUM_TIMED,
    }
    for size in args.batch_sizes:
        batch = make_inputs(numbers, (PROMPT_LENGTH,) * size, seed=2)
        start = median(batch, 1, None, True)
        whole = median(batch, 1 + NUM_TIMED, None, True)
        figures[f"tokens_per_s_batch_{size}"] = size * NUM_TIMED / (whole - start)
        figures[f"first_token_s_batch_{size}"] = start
    if not args.no_ragged:
        ragged = make_inputs(numbers, RAGGED_LENGTHS, seed=1)
        seconds(ragged, NUM_NEW, None, True)
        whole = seconds(ragged, NUM_NEW, None, True)
        figures["ragged_tokens_per_s"] = len(RAGGED_LENGTHS) * NUM_NEW / whole
    return figures


def _prompt_with_a_stop(
    generate: Generate, numbers: dict[str, Any], args: argparse.Namespace
) -> tuple[Inputs, int | None]:
    """A prompt whose 16th token is new, so that it can be its end token.

    The prompt is searched for by the first side that runs, and told to the others.
    """
    if args.prompt_seed is not None:
        return make_inputs(numbers, (PROMPT_LENGTH,), args.prompt_seed), args.stop
    for seed in range(200):
        inputs = make_inputs(numbers, (PROMPT_LENGTH,), seed)
        tokens = generate(inputs, NUM_NEW, None, True)[0, :NUM_NEW].tolist()
        if tokens[-1] not in tokens[:-1]:
            args.prompt_seed, args.stop = seed, tokens[-1]
            return inputs, tokens[-1]
    raise RuntimeError("Expected a prompt whose 16th token is a new one; found none.")


def measure_limits() -> dict[str, float]:
    """What this machine can do: bytes read a second, float32 operations a second."""
    import torch

    if torch.cuda.is_available():
        return _gpu_limits()
    num_threads = os.cpu_count() or 1
    arrays = [np.ones(1 << 27, np.float32) for _ in range(num_threads)]

    def read_all() -> float:
        threads = [threading.Thread(target=array.sum) for array in arrays]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    matrix = np.ones((1 << 17, 768), np.float32)
    vector = np.ones(768, np.float32)
    weights = torch.from_numpy(matrix)
    square = torch.ones((2048, 2048))

    def seconds(function: Callable[[], Any]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    bandwidths = {
        "sum": num_threads * arrays[0].nbytes / min(read_all() for _ in range(7)),
        "matrix @ vector": matrix.nbytes
        / min(seconds(lambda: weights @ torch.from_numpy(vector)) for _ in range(15)),
    }
    product = min(seconds(lambda: square @ square) for _ in range(7))
    return {
        "read_bytes_per_s": max(bandwidths.values()),
        "operations_per_s": 2 * 2048**3 / product,
    }


def _gpu_limits() -> dict[str, float]:
    import torch

    def seconds(function: Callable[[], Any], count: int = 20) -> float:
        function()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            function()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    source = torch.ones(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    square = torch.ones((8192, 8192), dtype=torch.bfloat16, device="cuda")
    return {
        # A copy reads and writes.
        "read_bytes_per_s": 2 * source.numel() / seconds(lambda: target.copy_(source)),
        "operations_per_s": 2 * 8192**3 / seconds(lambda: square @ square),
    }


def decoder_bytes(numbers: dict[str, Any], dtype: str) -> int:
    """Bytes of weights that are read for every token."""
    from keras_pg2.model_numbers import variable_shapes

    shapes = variable_shapes(**numbers)
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


def print_table(results: dict[str, dict], limits: list[dict], num_bytes: int) -> None:
    """All sides, and the limits of the machine."""
    names = [name for name in next(iter(results.values())) if name != "tokens"]
    print(f"\n{'':24}" + "".join(f"{name:>16.16}" for name in names))
    for side, figures in results.items():
        row = "".join(f"{figures[name]:16.4f}" for name in names)
        print(f"{side:24}{row}")
    first = next(iter(results.values()))
    ratios = {
        side: {name: figures[name] / first[name] for name in names}
        for side, figures in results.items()
    }
    print(f"\nratio to {next(iter(results))}")
    for side, row in ratios.items():
        print(f"{side:24}" + "".join(f"{row[name]:16.2f}" for name in names))
    bandwidth = max(limit["read_bytes_per_s"] for limit in limits)
    rate = max(limit["operations_per_s"] for limit in limits)
    least = num_bytes / bandwidth
    print(f"\nthe machine reads {bandwidth / 1e9:.1f} GB/s, {rate / 1e9:.0f} GFLOP/s")
    print(f"a token reads {num_bytes / 1e9:.3f} GB of weights: {least:.4f} s at least")
    for side, figures in results.items():
        print(f"  {side:24} {100 * least / figures['token_s']:5.1f} % of that limit")
    agree = {tuple(figures["tokens"][:NUM_NEW]) for figures in results.values()}
    print(f"all sides say the same {NUM_NEW} tokens: {len(agree) == 1}")


def main() -> None:
    """Measures all sides in turn and prints tables; --output keeps them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="290m")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--sides", default=",".join(SIDES), help="package:backend,...")
    parser.add_argument("--compiled", action="store_true", help="transformers, twice")
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
    numbers = numbers_of(args.shape)
    with tempfile.TemporaryDirectory() as folder:
        directory = args.directory or Path(folder) / "checkpoint"
        if args.directory is None:
            write_checkpoint(directory, numbers, args.dtype)
        limits = [measure_limits()]
        results = {}
        for side in sides:
            told = run_child(side, args, directory)
            results[side] = told["figures"]
            args.prompt_seed, args.stop = told["prompt_seed"], told["stop"]
            print(f"{side}: {json.dumps(told['figures'])}", flush=True)
        limits.append(measure_limits())
    num_bytes = decoder_bytes(numbers, args.dtype)
    print_table(results, limits, num_bytes)
    if args.output is not None:
        record = {
            "machine": f"{platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores",
            "shape": args.shape,
            "dtype": args.dtype,
            "bytes_per_token": num_bytes,
            "limits": limits,
            "results": results,
        }
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
