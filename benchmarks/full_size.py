"""Full-size PaliGemma 2 3B at 224 pixels: loading and converting, beside transformers.

Writes a checkpoint of random bfloat16 weights in the hub's layout (6 GB, removed in the
end), then measures, each in a process of its own with the file in the page cache:

- loading it in bfloat16 with keras_pg2 on JAX and on PyTorch, and with transformers'
  `from_pretrained`, and the first token after an image and a prompt: seconds until
  loaded, seconds until the token is there, peak resident memory, the token.
  transformers maps the files and reads them when they are first used, so only the
  whole until the first token compares;
- converting it file to file, against a plain copy of the files.

    python -m benchmarks.full_size [--directory DIR] [--no-convert]

Memory is `ru_maxrss` less that of the same process before loading, so libraries are
left out; the ratio to the size of the files is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.released import PRESETS

NAME = "pali_gemma2_pt_3b_224"
PROMPT_IDS = [2, 17, 43, 99, 1234, 108]


def write_checkpoint(
    directory: Path, architecture: dict[str, dict[str, Any]], dtype_name: str
) -> None:
    """A hub directory of random weights, from an architecture alone."""
    import ml_dtypes

    from keras_pg2.catalogue.architecture import variable_shapes
    from keras_pg2.conversion.huggingface.config import write_config
    from keras_pg2.conversion.huggingface.weights import weight_rows
    from keras_pg2.conversion.safetensors_files import write_safetensors
    from keras_pg2.conversion.tables.outgoing import Outgoing

    shapes = variable_shapes(**architecture)
    rng = np.random.default_rng(0)
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype_name == "bfloat16" else dtype_name)
    # Random numbers are drawn once and cut at other places for every tensor.
    pool = (0.02 * rng.standard_normal(1 << 24)).astype(dtype)

    def draw(shape: tuple[int, ...], scale: float) -> Any:
        def blocks() -> Any:
            left = int(np.prod(shape))
            while left:
                start = int(rng.integers(0, pool.size // 2))
                count = min(left, pool.size // 2)
                yield pool[start : start + count] * dtype.type(scale)
                left -= count

        return blocks

    tensors = []
    for row in weight_rows(**architecture):
        shape = row.stored_shape(shapes[row.ours])
        scale = 1.0
        if row.ours.endswith("token_embedding/embeddings"):
            # With larger embeddings the network would say the last token again.
            scale = 0.25
        elif len(shape) == 2:
            # With smaller kernels it would say one token for ever.
            scale = 100.0 / shape[1] ** 0.5
        tensors.append(
            Outgoing(
                key=row.theirs, shape=shape, dtype=dtype, blocks=draw(shape, scale)
            )
        )
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(
        json.dumps(write_config(architecture, dtype_name))
    )
    write_safetensors(directory, tensors, lambda num_bytes: None)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(1).uniform(-1, 1, (1, 224, 224, 3))
    return images.astype("float32"), np.array([PROMPT_IDS], "int32")


def load_keras_pg2(directory: Path) -> Callable[[], int]:
    from keras import ops

    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype="bfloat16")

    def next_token() -> int:
        images, token_ids = inputs()
        model_inputs = {
            "images": images,
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids, bool),
        }
        output = model.generate(model_inputs, max_new_tokens=1, stop_token_ids=None)
        return int(ops.convert_to_numpy(output["token_ids"])[0, len(PROMPT_IDS)])

    return next_token


def load_transformers(directory: Path) -> Callable[[], int]:
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.bfloat16)

    def next_token() -> int:
        images, token_ids = inputs()
        image_ids = np.full((1, 256), 257_152)
        ids = torch.tensor(np.concatenate([image_ids, token_ids], axis=1))
        pixels = torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.bfloat16)
        with torch.no_grad():
            output = model(
                input_ids=ids.long(),
                pixel_values=pixels,
                attention_mask=torch.ones_like(ids),
                token_type_ids=torch.zeros_like(ids),
            )
        return int(output.logits[0, -1].argmax())

    return next_token


def measure_load(side: str, directory: Path) -> None:
    """Runs in a process of its own; prints one JSON line."""
    load = load_transformers if side == "transformers" else load_keras_pg2
    if side == "transformers":
        import torch  # noqa: F401
        from transformers import PaliGemmaForConditionalGeneration  # noqa: F401
    else:
        import keras_pg2  # noqa: F401
    before = peak_bytes()
    start = time.perf_counter()
    next_token = load(directory)
    loaded = time.perf_counter() - start
    loaded_peak = peak_bytes() - before
    token = next_token()
    result = {
        "loaded": loaded,
        "first_token": time.perf_counter() - start,
        "loaded_peak": loaded_peak,
        "peak": peak_bytes() - before,
        "token": token,
    }
    print(json.dumps(result))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_convert(source: Path, target: Path, to: str) -> None:
    """Runs in a process of its own; prints one JSON line."""
    from keras_pg2.conversion.convert import convert

    start = time.perf_counter()
    convert(source, target, to)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak_bytes()}))


def run(*arguments: str, backend: str = "numpy") -> dict[str, Any]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.full_size", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--no-convert", action="store_true")
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return measure_load(options.load[0], Path(options.load[1]))
    if options.convert:
        source, target, to = options.convert
        return measure_convert(Path(source), Path(target), to)
    root = Path(tempfile.mkdtemp(prefix="full_size_", dir=options.directory))
    try:
        compare(root, with_conversion=not options.no_convert)
    finally:
        shutil.rmtree(root)


def compare(root: Path, with_conversion: bool) -> None:
    source = root / "hub"
    write_checkpoint(source, PRESETS[NAME].architecture, "bfloat16")
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    print(f"checkpoint: {size / 1e9:.2f} GB in the hub's layout, bfloat16")
    start = time.perf_counter()
    shutil.copytree(source, root / "copy")
    copying = time.perf_counter() - start
    print(f"plain copy: {copying:.1f} s, {size / copying / 1e9:.2f} GB/s")
    shutil.rmtree(root / "copy")
    sides = [
        ("transformers", "torch"),
        ("keras_pg2", "torch"),
        ("keras_pg2", "jax"),
        ("transformers", "torch"),
    ]
    print(
        "loading             loaded (peak / file)   first token   peak / file   its id"
    )
    for side, backend in sides:
        result = run("--load", side, str(source), backend=backend)
        print(
            f"{side:12} {backend:5} {result['loaded']:6.1f} s "
            f"({result['loaded_peak'] / size:4.2f}) {result['first_token']:18.1f} s "
            f"{result['peak'] / size:11.2f} {result['token']:11}",
            flush=True,
        )
    if not with_conversion:
        return
    print("converting   seconds   GB/s   of a copy   peak GB (whole process)")
    for to, name in (("npz", "a.npz"), ("preset", "preset"), ("hf", "hf")):
        target = root / name
        result = run("--convert", str(source), str(target), to)
        seconds = result["seconds"]
        print(
            f"to {to:8} {seconds:8.1f} {size / seconds / 1e9:6.2f} "
            f"{copying / seconds:10.2f} {result['peak'] / 1e9:12.2f}",
            flush=True,
        )
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()


if __name__ == "__main__":
    main()
