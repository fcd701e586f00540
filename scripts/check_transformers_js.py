r"""Answers of our ONNX directories by transformers.js, token for token against our own.

    npm install --prefix build/transformers-js --ignore-scripts \
        @huggingface/transformers@4
    python scripts/check_transformers_js.py --preset pali_gemma2_nano

Pictures have the model's size, so that no filter is compared. `--ignore-scripts` leaves
out a download for graphics cards that onnxruntime-node makes on installation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.datasets import scenes
from keras_pg2.deploy import ONNXModel, export_onnx
from keras_pg2.preprocessing.resizing import to_model_input

ROOT = Path(__file__).parents[1]
PACKAGES = Path(os.environ.get("TRANSFORMERS_JS", ROOT / "build" / "transformers-js"))
"""The folder whose node_modules has @huggingface/transformers."""
SEED = 3
"""A series of scenes that no preset was trained on."""
KINDS = ("float32", "float16", "int8", "int4")

Row = tuple[np.ndarray, str]
"""A picture uint8[h, w, 3] of the model's size, and a prompt."""


def is_installed() -> bool:
    """Return whether Node and transformers.js are here."""
    package = PACKAGES / "node_modules" / "@huggingface" / "transformers"
    return shutil.which("node") is not None and package.is_dir()


def answers_of_ours(
    directory: Path, rows: Sequence[Row], max_new_tokens: int
) -> list[dict[str, Any]]:
    """Return the greedy answers of `ONNXModel`, in the form of transformers_js.cjs."""
    runner = ONNXModel(directory)
    config = json.loads((directory / "config.json").read_text())
    answers = []
    for picture, prompt in rows:
        features = runner.encode_image(picture)
        token_ids = runner.tokenize(prompt)
        tokens = list(runner.generate_tokens(features, token_ids, max_new_tokens))
        text = runner.detokenize(tokens)
        if len(tokens) < max_new_tokens:
            tokens.append(config["eos_token_id"])
        image = [config["image_token_index"]] * features.shape[1]
        answers.append(
            {
                "prompt_ids": [*image, *token_ids],
                "pixel_sum": float(to_model_input(picture).sum(dtype=np.float64)),
                "answer_ids": tokens,
                "text": text,
            }
        )
    return answers


def answers_of_transformers_js(
    directory: Path, rows: Sequence[Row], max_new_tokens: int
) -> list[dict[str, Any]]:
    """Return the greedy answers of transformers.js under Node.

    Raises:
        RuntimeError: if Node ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = []
        for i, (picture, prompt) in enumerate(rows):
            path = Path(folder) / f"{i}.png"
            Image.fromarray(picture).save(path)
            listed.append({"image": str(path), "prompt": prompt})
        requests = Path(folder) / "requests.json"
        content = {"max_new_tokens": max_new_tokens, "rows": listed}
        requests.write_text(json.dumps(content), encoding="utf-8")
        script = ROOT / "scripts" / "transformers_js.cjs"
        command = ["node", script, PACKAGES, directory, requests]
        ended = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False
        )
    if ended.returncode:
        raise RuntimeError(
            f"Node ended with {ended.returncode}: {ended.stderr[-2000:]}"
        )
    answers: list[dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return answers


def main(
    preset: Annotated[str, typer.Option()] = "pali_gemma2_nano",
    num_scenes: Annotated[int, typer.Option(min=1)] = 20,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 40,
) -> None:
    """Print, for each kind of file, how many answers are the same to the token."""
    if not is_installed():
        raise SystemExit(
            f"Expected Node, and transformers.js in {PACKAGES}.\n{__doc__}"
        )
    model = PaliGemma2CausalLM.from_preset(preset)
    rows = []
    for index in range(num_scenes):
        rng = scenes.scene_generator(SEED, index)
        scene = scenes.sample_scene(rng)
        picture = scenes.render(scene, model.backbone.image_size)
        rows += [(picture, e.prompt) for e in scenes.examples(scene, rng)]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "model"
            export_onnx(model, directory, kind)
            ours = answers_of_ours(directory, rows, max_new_tokens)
            theirs = answers_of_transformers_js(directory, rows, max_new_tokens)
        prompts, answers, texts = (
            sum(a[name] == b[name] for a, b in zip(ours, theirs))
            for name in ("prompt_ids", "answer_ids", "text")
        )
        tokens = sum(len(answer["answer_ids"]) for answer in theirs)
        print(
            f"{kind}: of {len(rows)} rows, {prompts} prompts, {answers} answers "
            f"({tokens} tokens) and {texts} texts are the same"
        )


if __name__ == "__main__":
    typer.run(main)
