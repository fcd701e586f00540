"""Memory that generation takes, beside what it cannot do without. (Linux.)

    KERAS_BACKEND=jax python -m benchmarks.generation_memory

A process for each image size loads random weights of the 290M shape, generates once so
that everything is compiled, and then again. The peak of that second call above the
process with its weights loaded stands beside the cache and the activations of one
layer; what the compiler took and the allocator kept is in it. What an array of image
tokens x vocabulary would take is printed too: there is none.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHILD = "KERAS_PG2_GENERATION_MEMORY_CHILD"
NUM_NEW = 16


def status(name: str) -> int:
    """Bytes of an entry of this process's status, as VmRSS or VmHWM (the peak)."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found is not None
    return 1024 * int(found[1])


def measure(directory: Path, architecture: dict[str, Any]) -> dict[str, int]:
    """In this process."""
    from benchmarks.sides import make_inputs
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype="float32")
    inputs = make_inputs(architecture, (8,), seed=0)
    options = {"max_new_tokens": NUM_NEW, "stop_token_ids": None}
    loaded = status("VmRSS")
    model.generate(inputs, **options)
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew.
    model.generate(inputs, **options)
    return {"loaded": loaded, "peak": status("VmHWM")}


def needed(architecture: dict[str, Any]) -> dict[str, int]:
    """Bytes of weights, cache and the widest layer's activations, float32."""
    from keras_pg2.catalogue.architecture import variable_shapes
    from keras_pg2.generation.compilation import bucket_length, bucket_text
    from keras_pg2.modeling.attention import QUERY_BLOCK

    vision, decoder = architecture["vision_encoder"], architecture["text_decoder"]
    num_image = (vision["image_size"] // vision["patch_size"]) ** 2
    length = num_image + bucket_text(8, 1)
    num_slots = length + bucket_length(NUM_NEW)
    heads = decoder["num_key_value_heads"] * decoder["head_dim"]
    sizes = []
    for part, tokens, num_heads in (
        (vision, num_image, vision["num_heads"]),
        (decoder, length, decoder["num_query_heads"]),
    ):
        # The block's input, its norm, and the two branches of the MLP.
        wide = tokens * (2 * part["hidden_dim"] + 2 * part["intermediate_dim"])
        block = min(QUERY_BLOCK, tokens) * tokens * num_heads
        sizes.append(4 * max(wide, tokens * 5 * part["hidden_dim"] + 2 * block))
    count = 0
    for shape in variable_shapes(**architecture).values():
        size = 1
        for axis in shape:
            size *= axis
        count += size
    return {
        "weights": 4 * count,
        "cache": 2 * 4 * decoder["num_layers"] * num_slots * heads,
        "one layer": max(sizes),
        "image tokens x vocabulary": 4 * num_image * decoder["vocabulary_size"],
    }


def main() -> None:
    """Runs a process for each size and prints a table in MB."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 448, 896])
    args = parser.parse_args()
    from benchmarks.sides import architecture_of

    if CHILD in os.environ:
        directory = Path(os.environ[CHILD])
        architecture = json.loads((directory / "architecture.json").read_text())
        print(json.dumps(measure(directory, architecture)))
        return
    from benchmarks.full_size import write_checkpoint

    for size in args.sizes:
        architecture = copy.deepcopy(architecture_of("290m"))
        architecture["vision_encoder"]["image_size"] = size
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "checkpoint"
            write_checkpoint(directory, architecture, "float32")
            (directory / "architecture.json").write_text(json.dumps(architecture))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.generation_memory"],
                env={**os.environ, CHILD: str(directory)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        result = json.loads(done.stdout.splitlines()[-1])
        parts = needed(architecture)
        figures = {
            "loaded process": result["loaded"],
            "peak": result["peak"],
            "above the loaded process": result["peak"] - result["loaded"],
            **parts,
        }
        print(f"{size} pixels, MB")
        for name, value in figures.items():
            print(f"  {name:26}{value / 1e6:10.0f}")


if __name__ == "__main__":
    main()
