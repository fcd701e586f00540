"""Scores a model on the test part of `digits.py`: questions and boxes.

    python scripts/evaluate_digits.py digits/ --adapter run/adapter.safetensors \\
        --questions
    python scripts/evaluate_digits.py digits/ --preset detect/preset --boxes \\
        --picture docs/images/digits_detection.png

Questions are answered greedily, and right when the answer is the digit. Boxes are those
of `model.detect`, asked for the digits that are on a canvas; AP is COCO's. Label-blind
is with one label for all, so it says how well digits are found, whichever they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from keras_pg2.codecs import Detections, parse_detections
from keras_pg2.codecs.drawing import draw_detections
from keras_pg2.datasets.jsonl import read_jsonl
from keras_pg2.datasets.rows import Row
from keras_pg2.finetuning.evaluation import answer_rows
from keras_pg2.metrics import coco_average_precision

BATCH_SIZE = 50
MAX_DETECTIONS = 8
CANVAS = 168
NUM_SHOWN, SHOWN_SIDE, GAP = 4, 336, 8


def answer_questions(model: Any, rows: Sequence[Row]) -> dict[str, float]:
    """How many answers are the digit."""
    answers = answer_rows(model, rows, BATCH_SIZE)
    right = [
        answer.text.strip() == row["responses"] for row, answer in zip(rows, answers)
    ]
    return {"rows": len(rows), "right": sum(right), "accuracy": float(np.mean(right))}


def find_boxes(model: Any, rows: Sequence[Row]) -> list[Detections]:
    """What is found on each canvas, asked for the digits that are on it."""
    return model.detect(
        [str(row["images"]) for row in rows],
        [row["prompts"].removeprefix("detect ").split(" ; ") for row in rows],
        max_detections=MAX_DETECTIONS,
        min_score=0,
        batch_size=BATCH_SIZE,
    )


def score_boxes(
    found: Sequence[Detections], truths: Sequence[Detections]
) -> dict[str, float]:
    """COCO's scores, with labels and with one label for all."""
    scores = coco_average_precision(found, truths)
    blind = coco_average_precision(
        [without_labels(part) for part in found],
        [without_labels(part) for part in truths],
    )
    return {
        "canvases": len(truths),
        "boxes": scores.num_truths,
        "found": scores.num_predictions,
        "AP": scores.ap,
        "AP50": scores.ap50,
        "label-blind AP": blind.ap,
        "label-blind AP50": blind.ap50,
    }


def without_labels(part: Detections) -> Detections:
    """The same boxes, all of one label."""
    return replace(part, labels=("digit",) * len(part))


def draw(
    rows: Sequence[Row], found: Sequence[Detections], truths: Sequence[Detections]
) -> Image.Image:
    """The first canvases: above what is there, below what was found."""
    step, scale = SHOWN_SIDE + GAP, SHOWN_SIDE / CANVAS
    sheet = Image.new("RGB", (NUM_SHOWN * step - GAP, 2 * step - GAP), "gray")
    for column, row in enumerate(rows[:NUM_SHOWN]):
        canvas = Image.open(row["images"]).resize((SHOWN_SIDE, SHOWN_SIDE))
        for line, part in enumerate((truths[column], found[column])):
            larger = replace(part, boxes_xyxy=part.boxes_xyxy * np.float32(scale))
            picture = draw_detections(canvas, larger)
            sheet.paste(picture, (column * step, line * step))
    return sheet


def main(
    folder: Annotated[Path, typer.Argument(help="Written by digits.py.")],
    preset: Annotated[str, typer.Option(help="Name or directory.")] = (
        "pali_gemma2_nano"
    ),
    adapter: Annotated[Path | None, typer.Option(help="To load into it.")] = None,
    questions: Annotated[bool, typer.Option("--questions", help="One digit.")] = False,
    boxes: Annotated[bool, typer.Option("--boxes", help="Several digits.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Of boxes, to write.")] = None,
) -> None:
    """Prints scores on the test part, as JSON."""
    from keras_pg2 import PaliGemma2CausalLM

    if not questions and not boxes:
        raise typer.BadParameter("Expected --questions, --boxes or both.")
    model = PaliGemma2CausalLM.from_preset(preset)
    if adapter is not None:
        model.adapters.load(adapter)
    scores: dict[str, dict[str, float]] = {}
    if questions:
        scores["questions"] = answer_questions(model, read_jsonl(folder / "test.jsonl"))
    if boxes:
        rows = read_jsonl(folder / "detect_test.jsonl")
        truths = [parse_detections(row["responses"], CANVAS, CANVAS) for row in rows]
        found = find_boxes(model, rows)
        scores["boxes"] = score_boxes(found, truths)
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            draw(rows, found, truths).save(picture, optimize=True)
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    typer.run(main)
