"""Measures exported files of a nano preset on held-out scenes, by quantization.

    KERAS_BACKEND=jax python scripts/evaluate_exports.py --to onnx --num-scenes 100

Scenes, tasks and scores are those of evaluate_nano.py. For each kind of file: its size,
the share of answers that are the model's own to the letter, and the scores.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from evaluate_nano import generate_rows, held_out, score
from rich.progress import track

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.deploy import LiteRTModel, ONNXModel
from keras_pg2.deploy.formats import FORMATS
from keras_pg2.deploy.runner import ExportedModel

RUNNERS: dict[str, type[ExportedModel]] = {"litert": LiteRTModel, "onnx": ONNXModel}
WEIGHT_SUFFIXES = (".tflite", ".onnx", ".onnx_data")
MAX_NEW_TOKENS = 45


def answer_rows(runner: ExportedModel, num_scenes: int) -> list[dict[str, str]]:
    """The greedy answers of exported files to every held-out example."""
    rows = []
    for picture, examples in track(list(held_out(num_scenes)), "Answering"):
        features = runner.encode_image(picture)
        for example in examples:
            token_ids = runner.tokenize(example.prompt)
            tokens = runner.generate_tokens(features, token_ids, MAX_NEW_TOKENS)
            rows.append(
                {
                    "task": example.task,
                    "prompt": example.prompt,
                    "wanted": example.response,
                    "text": runner.detokenize(list(tokens)),
                }
            )
    return rows


def share_of_same(rows: list[dict[str, str]], reference: list[dict[str, str]]) -> float:
    """Share of rows with the reference's text; both may be in another order."""
    ordered = [
        sorted((row["task"], row["prompt"], row["wanted"], row["text"]) for row in part)
        for part in (rows, reference)
    ]
    same = [a == b for a, b in zip(*ordered, strict=True)]
    return sum(same) / len(same)


def main(
    preset: Annotated[str, typer.Option()] = "pali_gemma2_nano",
    to: Annotated[str, typer.Option(help=f"{' or '.join(RUNNERS)}.")] = "litert",
    num_scenes: Annotated[int, typer.Option()] = 100,
    output: Annotated[Path | None, typer.Option(help="JSON of all numbers.")] = None,
) -> None:
    model = PaliGemma2CausalLM.from_preset(preset)
    reference = generate_rows(preset, num_scenes)
    results = {"model": score(reference)}
    for kind in (None, *FORMATS[to].quantizations):
        with tempfile.TemporaryDirectory() as parent:
            directory = Path(parent) / "model"
            comparison = FORMATS[to].export(model, directory, kind)
            rows = answer_rows(RUNNERS[to](directory), num_scenes)
            files = [p for p in directory.rglob("*") if p.suffix in WEIGHT_SUFFIXES]
            size = sum(path.stat().st_size for path in files)
        results[kind or "float32"] = {
            "megabytes": size / 1e6,
            "same answers": share_of_same(rows, reference),
            **score(rows),
        }
        print(f"{kind or 'float32'}: {comparison}", flush=True)
        print(json.dumps(results[kind or "float32"]), flush=True)
    print(json.dumps(results, indent=2))
    if output is not None:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
