"""Draw the pictures of README.md and docs/benchmarks.md.

    python scripts/draw_readme_pictures.py

`results.png` shows what the bundled preset says of a scene it was not trained on,
`benchmarks.png` the figures in benchmarks/results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import keras_pg2
from keras_pg2 import PaliGemma2CausalLM, prompts

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"
LABELS = ["purple circle", "yellow star"]
QUESTIONS = ("how many objects are there?", "where is the yellow star?")
COLORS = {
    "keras_pg2": "#1a73e8",
    "keras_hub": "#9aa0a6",
    "transformers": "#f29900",
}
NAMES = {
    "keras_pg2:jax": "keras_pg2, JAX",
    "keras_pg2:tensorflow": "keras_pg2, TensorFlow",
    "keras_pg2:torch": "keras_pg2, PyTorch",
    "keras_hub:jax": "KerasHub, JAX",
    "keras_hub:torch": "KerasHub, PyTorch",
    "transformers:torch": "transformers, PyTorch",
}


def draw_results() -> plt.Figure:
    """Return a figure of a scene, and of boxes and masks in it."""
    model = PaliGemma2CausalLM.from_preset("pali_gemma2_nano")
    picture = keras_pg2.open_image(IMAGES / "scene.png")
    asked = {
        "caption": prompts.caption(),
        **{question: prompts.answer(question) for question in QUESTIONS},
        "read the text": prompts.ocr(),
    }
    batch = {"images": picture, "prompts": list(asked.values())}
    answers = model.generate(batch, strip_prompt=True)
    boxes = model.detect(picture, LABELS)
    masks = model.segment(picture, LABELS)
    panels = {
        "docs/images/scene.png": picture,
        "detect purple circle ; yellow star": keras_pg2.draw_detections(picture, boxes),
        "segment purple circle ; yellow star": keras_pg2.draw_detections(
            picture, masks
        ),
    }
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), dpi=100)
    for axis, (title, image) in zip(axes, panels.items()):
        axis.imshow(image)
        axis.set_title(title, fontsize=9)
    text = "\n\n".join(f"{question}\n    {a}" for question, a in zip(asked, answers))
    axes[3].text(0, 1, text, va="top", fontsize=9, wrap=True)
    for axis in axes:
        axis.axis("off")
    return figure


def draw_benchmarks() -> plt.Figure:
    """Return bars of time and memory beside the peers."""
    generated = _read("generate_290m_xeon")["rounds"]
    trained = _read("train_290m_2_cores")["settings"]["lora"]
    panels = {
        "ms a token": _medians(generated, "token_s", 1000),
        "tokens/s, 16 prompts": _medians(generated, "ragged_tokens_per_s", 1),
        "generating: peak GB": _medians(generated, "peak_gb", 1),
        "s a step of LoRA": _medians([trained], "step_s", 1),
        "training: peak GB": _medians([trained], "peak_gb", 1),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 2.6), dpi=100)
    for i, (axis, (title, values)) in enumerate(zip(axes, panels.items())):
        sides = [side for side in NAMES if side in values]
        heights = [values[side] for side in sides]
        colors = [COLORS[side.partition(":")[0]] for side in sides]
        bars = axis.barh([NAMES[side] for side in sides], heights, color=colors)
        axis.bar_label(bars, fmt="%.3g", padding=2, fontsize=8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.tick_params(labelsize=8)
        axis.set_xticks([])
        if i not in (0, 3):  # The sides of the panel before it.
            axis.set_yticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _medians(rounds: list[dict[str, Any]], key: str, factor: float) -> dict[str, float]:
    return {
        side: factor * float(np.median([each[side][key] for each in rounds]))
        for side in rounds[0]
    }


def main() -> None:
    """Write both pictures."""
    for name, draw in (("results", draw_results), ("benchmarks", draw_benchmarks)):
        figure = draw()
        figure.tight_layout()
        figure.savefig(IMAGES / f"{name}.png")
        print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
