"""Measures exported files of a nano preset on held-out scenes, by quantization.

    KERAS_BACKEND=jax python scripts/evaluate_exports.py --to onnx --num-scenes 100
    python scripts/evaluate_exports.py --to litertlm --kind float32 --picture-side 84

Scenes, tasks and scores are those of evaluate_nano.py. For each kind of file: its size,
the share of answers that are the model's own to the letter, and the scores. With
`--picture-side` the files, not the model, are given pictures that are resized by the
model's filter before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from evaluate_nano import PICTURE_SIZE, generate_rows, held_out, score
from PIL import Image
from rich.progress import track

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.deploy import LiteRTModel, ONNXModel
from keras_pg2.deploy.formats import FORMATS
from keras_pg2.preprocessing.resizing import stretch

MAX_NEW_TOKENS = 45

Answer = Callable[[np.ndarray, list[str]], list[str]]
"""Greedy answers to some prompts about one picture."""


@contextmanager
def open_runner(path: Path) -> Iterator[Answer]:
    runner = (LiteRTModel if (path / "litert.json").exists() else ONNXModel)(path)

    def answer(picture: np.ndarray, prompts: list[str]) -> list[str]:
        features = runner.encode_image(picture)
        texts = []
        for prompt in prompts:
            token_ids = runner.tokenize(prompt)
            tokens = runner.generate_tokens(features, token_ids, MAX_NEW_TOKENS)
            texts.append(runner.detokenize(list(tokens)))
        return texts

    yield answer


@contextmanager
def open_litert_lm(path: Path) -> Iterator[Answer]:
    import litert_lm

    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    cpu = litert_lm.Backend.CPU()

    with (
        litert_lm.Engine(str(path), backend=cpu, vision_backend=cpu) as engine,
        tempfile.TemporaryDirectory() as directory,
    ):
        file = Path(directory) / "picture.png"

        def ask(prompt: str) -> str:
            content = [
                {"type": "image", "path": str(file)},
                {"type": "text", "text": prompt},
            ]
            with engine.create_conversation() as conversation:
                message = conversation.send_message(
                    {"role": "user", "content": content},
                    max_output_tokens=MAX_NEW_TOKENS,
                )
            return "".join(part.get("text", "") for part in message["content"])

        def answer(picture: np.ndarray, prompts: list[str]) -> list[str]:
            Image.fromarray(picture).save(file)
            return [ask(prompt) for prompt in prompts]

        yield answer


OPENERS = {"litert": open_runner, "onnx": open_runner, "litertlm": open_litert_lm}


def answer_rows(
    answer: Answer, num_scenes: int, prepare: Callable[[np.ndarray], np.ndarray]
) -> list[dict[str, str]]:
    """The answers of exported files to every held-out example."""
    rows = []
    for picture, examples in track(list(held_out(num_scenes)), "Answering"):
        texts = answer(prepare(picture), [example.prompt for example in examples])
        for example, text in zip(examples, texts, strict=True):
            rows.append(
                {
                    "task": example.task,
                    "prompt": example.prompt,
                    "wanted": example.response,
                    "text": text,
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


def weight_files(path: Path) -> list[Path]:
    """What has weights in it, of a file or directory that was exported."""
    if path.is_file():
        return [path]
    suffixes = (".tflite", ".onnx", ".onnx_data")
    return [file for file in path.rglob("*") if file.suffix.startswith(suffixes)]


def main(
    preset: Annotated[str, typer.Option()] = "pali_gemma2_nano",
    to: Annotated[str, typer.Option(help=f"{', '.join(OPENERS)}.")] = "litert",
    kind: Annotated[
        list[str] | None,
        typer.Option(help="float32, float16, int8 or int4; none is all of them."),
    ] = None,
    num_scenes: Annotated[int, typer.Option()] = 100,
    picture_side: Annotated[
        int, typer.Option(help="Pixels of a side of the files' pictures.")
    ] = PICTURE_SIZE,
    output: Annotated[Path | None, typer.Option(help="JSON of all numbers.")] = None,
) -> None:
    model = PaliGemma2CausalLM.from_preset(preset)
    converter = model.preprocessor.image_converter

    def prepare(picture: np.ndarray) -> np.ndarray:
        size = (picture_side, picture_side)
        return stretch(picture, size, converter.interpolation, converter.antialias)

    reference = generate_rows(preset, num_scenes)
    results = {"model": score(reference)}
    for name in kind or ("float32", *FORMATS[to].quantizations):
        with tempfile.TemporaryDirectory() as parent:
            path = Path(parent) / f"model.{to}"
            comparison = FORMATS[to].export(
                model, path, None if name == "float32" else name
            )
            with OPENERS[to](path) as answer:
                rows = answer_rows(answer, num_scenes, prepare)
            size = sum(file.stat().st_size for file in weight_files(path))
        results[name] = {
            "megabytes": size / 1e6,
            "answers": len(rows),
            "same answers": share_of_same(rows, reference),
            **score(rows),
        }
        print(f"{name}: {comparison}", flush=True)
        print(json.dumps(results[name]), flush=True)
    print(json.dumps(results, indent=2))
    if output is not None:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
