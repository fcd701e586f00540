"""Measures a nano preset on held-out scenes, and compares dumps of two backends.

    KERAS_BACKEND=torch python scripts/evaluate_nano.py --dump torch.json
    python scripts/evaluate_nano.py --compare jax.json --compare torch.json

Every task is asked once of each scene (detection and questions drawn at random
from the scene's own series), pictures are drawn at 224 px and go through the
whole preprocessor, answers are decoded greedily.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from keras_pg2.codecs import box_iou, parse_detections
from keras_pg2.datasets import scenes

HELD_OUT_SEED = 3
"""A series of scenes that training and its curve never see."""
PICTURE_SIZE = 224
BATCH_SIZE = 50


def held_out(num_scenes: int) -> Iterator[tuple[np.ndarray, list[scenes.Example]]]:
    """Pictures uint8[224, 224, 3] with their examples; `task` names the table row."""
    for index in range(num_scenes):
        rng = scenes.scene_generator(HELD_OUT_SEED, index)
        scene = scenes.sample_scene(rng)
        questions = {f"answer en {q.question}": q for q in scenes.questions(scene, rng)}
        examples = [e for e in scenes.examples(scene, rng) if e.task != "answer"]
        examples += [
            scenes.Example(f"answer: {q.kind}", prompt, q.answer)
            for prompt, q in questions.items()
        ]
        yield scenes.render(scene, PICTURE_SIZE), examples


def match_boxes(text: str, wanted: str) -> tuple[int, int, int]:
    """Numbers of right, predicted and wanted boxes: same label and IoU >= 0.5."""
    found = parse_detections(text, PICTURE_SIZE, PICTURE_SIZE)
    truth = parse_detections(wanted, PICTURE_SIZE, PICTURE_SIZE)
    free = list(range(len(truth)))
    overlaps = box_iou(found.boxes_xyxy, truth.boxes_xyxy)
    hits = 0
    for label, row in zip(found.labels, overlaps, strict=True):
        candidates = [i for i in free if truth.labels[i] == label]
        best = max(candidates, key=lambda i: row[i], default=None)
        if best is not None and row[best] >= 0.5:
            free.remove(best)
            hits += 1
    return hits, len(found), len(truth)


def score(rows: list[dict[str, str]]) -> dict[str, float]:
    """Share of exactly right texts per task, and precision, recall, F1 of boxes."""
    right: dict[str, list[bool]] = defaultdict(list)
    boxes = np.zeros(3)
    for row in rows:
        right[row["task"]].append(row["text"] == row["wanted"])
        if row["task"] == "detect":
            boxes += match_boxes(row["text"], row["wanted"])
        if row["task"].startswith("answer"):
            right["answer: all"].append(right[row["task"]][-1])
    scores = {task: float(np.mean(hits)) for task, hits in sorted(right.items())}
    scores["detect: exact text"] = scores.pop("detect")
    hits, found, wanted = boxes
    scores["detect: precision at IoU 0.5"] = hits / max(found, 1)
    scores["detect: recall at IoU 0.5"] = hits / max(wanted, 1)
    scores["detect: F1 at IoU 0.5"] = 2 * hits / max(found + wanted, 1)
    return scores


def generate_rows(preset: str, num_scenes: int) -> list[dict[str, str]]:
    """The preset's greedy answers to every held-out example."""
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(preset)
    by_task = defaultdict(list)
    for picture, examples in held_out(num_scenes):
        for example in examples:
            by_task[example.task].append((picture, example))
    # One task at a time: prompts and answers of like length.
    batches = [
        cases[i : i + BATCH_SIZE]
        for cases in by_task.values()
        for i in range(0, len(cases), BATCH_SIZE)
    ]
    rows = []
    for cases in track(batches, description="Answering"):
        texts = model.generate(
            {"images": [c[0] for c in cases], "prompts": [c[1].prompt for c in cases]},
            strip_prompt=True,
            max_new_tokens=45,
        )
        rows += [
            {"task": e.task, "prompt": e.prompt, "wanted": e.response, "text": text}
            for (_, e), text in zip(cases, texts, strict=True)
        ]
    return rows


def compare(dumps: list[Path]) -> dict[str, float]:
    """Share of examples with the same text in all dumps, in all and per task."""
    texts = [json.loads(path.read_text())["rows"] for path in dumps]
    same = defaultdict(list)
    for rows in zip(*texts, strict=True):
        agreed = len({row["text"] for row in rows}) == 1
        same["all tasks"].append(agreed)
        same[rows[0]["task"]].append(agreed)
    return {task: float(np.mean(hits)) for task, hits in same.items()}


def main(
    preset: Annotated[
        str, typer.Option(help="Name or directory.")
    ] = "pali_gemma2_nano",
    num_scenes: Annotated[
        int, typer.Option("--scenes", help="How many scenes.")
    ] = 1000,
    dump: Annotated[Path | None, typer.Option(help="File for all answers.")] = None,
    comparison: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Compare dumps instead of evaluating."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures a nano preset on held-out scenes."""
    start = time.perf_counter()
    if comparison:
        scores = compare(comparison)
    else:
        rows = generate_rows(preset, num_scenes)
        scores = score(rows)
        if dump is not None:
            dump.write_text(json.dumps({"scores": scores, "rows": rows}, indent=1))
    if as_json:
        print(json.dumps(scores, indent=2))
        return
    for name, value in scores.items():
        print(f"{name:32} {100 * value:6.2f} %")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    typer.run(main)
