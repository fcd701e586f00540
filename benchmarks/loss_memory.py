"""Memory of the loss, forward and backward, against tokens x vocabulary.

    python -m benchmarks.loss_memory --output benchmarks/results/loss_memory.json
    python -m benchmarks.loss_memory --plot benchmarks/results/loss_memory.json

Ours takes hidden states to the loss a chunk of logits at a time; the plain one makes
all logits and gives them to the cross-entropy. Both ask for the gradient of the states,
the vocabulary [V, 256] being frozen, as with LoRA; rows of 512 tokens. Measured are the
temporaries of the compiled function on JAX, as XLA tells; nothing is run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, ROW, CHUNK = 256, 512, 128
NUM_TOKENS = (512, 1024, 2048, 4096)
VOCABULARY_SIZES = (32_000, 257_152)
IMAGE = Path("docs/images/loss_memory.png")
KINDS = ("chunked", "plain")
BACKENDS = ("jax",)


def loss_of(kind: str, labels: Any) -> Callable[[Any, Any], Any]:
    """(states, table) to the loss."""
    import keras
    from keras import ops

    from keras_pg2 import ResponseLoss
    from keras_pg2.modeling.attention import soft_cap
    from keras_pg2.tasks.training.cross_entropy import Vocabulary

    def chunked(states: Any, table: Any) -> Any:
        loss = ResponseLoss(chunk_size=CHUNK)
        return loss.of_states(states, Vocabulary(table, 30.0, False), labels).loss

    def plain(states: Any, table: Any) -> Any:
        logits = soft_cap(ops.einsum("btd,vd->btv", states, table), 30.0)
        of_tokens = keras.losses.sparse_categorical_crossentropy(
            labels, logits, from_logits=True
        )
        return ops.mean(of_tokens)

    return {"chunked": chunked, "plain": plain}[kind]


def measure_jax(kind: str, num_tokens: int, vocabulary_size: int) -> int:
    """Bytes of temporaries of the compiled loss and its gradient."""
    import jax

    labels = np.zeros((num_tokens // ROW, ROW), "int32")
    states = jax.ShapeDtypeStruct((*labels.shape, WIDTH), "float32")
    table = jax.ShapeDtypeStruct((vocabulary_size, WIDTH), "float32")
    run = jax.jit(jax.value_and_grad(loss_of(kind, labels)))
    found = run.lower(states, table).compile().memory_analysis()
    return int(found.temp_size_in_bytes)


MEASURES = {"jax": measure_jax}


def run_child(*point: Any) -> int:
    """A point in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loss_memory", "--point"]
    environment = {**os.environ, "KERAS_BACKEND": point[0]}
    done = subprocess.run(
        [*command, *map(str, point)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """GB against logits, a line for each backend, kind and vocabulary."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = {"chunked": "tab:blue", "plain": "tab:red"}
    for backend, kind, size in itertools.product(BACKENDS, KINDS, VOCABULARY_SIZES):
        line = [
            (point["num_tokens"], point["bytes"] / 1e9)
            for point in points
            if (point["backend"], point["kind"], point["vocabulary_size"])
            == (backend, kind, size)
        ]
        if not line:
            continue
        axes.plot(
            *zip(*line, strict=True),
            color=colours[kind],
            linestyle="-" if backend == "jax" else "--",
            marker="o" if size == max(VOCABULARY_SIZES) else "^",
            label=f"{kind}, {size:,} tokens of vocabulary, {backend}",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(NUM_TOKENS, [f"{each:,}" for each in NUM_TOKENS])
    axes.set_xlabel("text tokens of a batch")
    axes.set_ylabel("GB beside states and vocabulary")
    axes.set_title("Memory of the loss, forward and backward")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Measures all points and prints them, or draws what was kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--plot", type=Path, help="such a file, to draw")
    parser.add_argument(
        "--image", type=Path, default=Path("docs/images/loss_memory.png")
    )
    parser.add_argument("--point", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plot:
        draw(json.loads(args.plot.read_text()), args.image)
        return
    if args.point:
        backend, kind, *sizes = args.point
        print(MEASURES[backend](kind, *map(int, sizes)))
        return
    points = []
    for backend, kind, size, count in itertools.product(
        BACKENDS, KINDS, VOCABULARY_SIZES, NUM_TOKENS
    ):
        found = run_child(backend, kind, count, size)
        points.append(
            {
                "backend": backend,
                "kind": kind,
                "vocabulary_size": size,
                "num_tokens": count,
                "bytes": found,
            }
        )
        print(
            f"{backend:8}{kind:10}{size:9,}{count:7,}{found / 1e9:9.3f} GB", flush=True
        )
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(points, indent=2) + "\n")


if __name__ == "__main__":
    main()
