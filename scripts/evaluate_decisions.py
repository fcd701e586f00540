"""Accuracy and calibration of a nano preset's decisions on held-out scenes.

    KERAS_BACKEND=torch python scripts/evaluate_decisions.py \\
        --preset presets/pali_gemma2_nano_84 --calibrate

Every scene is asked one question of each kind that it has an answer to, of a picture of
224 x 224 pixels, which nano reads nearly without a fault, and of a small noisy one,
which it does not. `--calibrate` first fits the calibration on scenes of another series
and writes it into the preset's directory. Captions with one thing replaced by
one that is not there are checked, too.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from keras_pg2.datasets import scenes
from keras_pg2.metrics.calibration import expected_calibration_error
from keras_pg2.tasks import Decision, DecisionCalibration, Question

HELD_OUT_SEED, CALIBRATION_SEED = 3, 4
"""Series of scenes; training sees neither, nor does its curve."""
SMALLEST, LARGEST, NOISE = 16, 40, 25.0
"""Sides of noisy pictures in pixels, and the standard deviation of their levels."""
PLACES = tuple(place for row in scenes.POSITIONS for place in row)


class Asked(NamedTuple):
    """A question about a scene with its right value."""

    task: str
    question: Question
    truth: Any


def draw(seed: int, count: int) -> list[tuple[np.ndarray, np.ndarray, list[Asked]]]:
    """Pictures of scenes, plain and noisy, with their questions."""
    drawn = []
    for index in range(count):
        rng = scenes.scene_generator(seed, index)
        scene = scenes.sample_scene(rng)
        asked = [as_asked(each) for each in scenes.questions(scene, rng)]
        plain = scenes.render(scene, 224)
        size = rng.integers(SMALLEST, LARGEST + 1, 2).tolist()
        small = np.asarray(Image.fromarray(plain).resize(size), np.float64)
        noisy = small + rng.normal(0, NOISE, small.shape)
        drawn.append((plain, np.clip(noisy, 0, 255).astype(np.uint8), asked))
    return drawn


def as_asked(question: scenes.Question) -> Asked:
    """A question of a scene with the answers to choose from."""
    text, answer = question.question, question.answer
    if question.kind == "existence":
        return Asked("existence", Question(text), answer == "yes")
    if question.kind == "count":
        numbers = Question.number(text, range(0, 21))
        return Asked("count", numbers, int(answer))
    choices = {"color": scenes.COLORS, "shape": scenes.SHAPES, "position": PLACES}
    return Asked(question.kind, Question.one_of(text, choices[question.kind]), answer)


def decide(
    model: Any, drawn: list, pictures: str
) -> tuple[list[str], list[Decision], list[Any]]:
    """Decisions about all scenes, with their tasks and truths."""
    column = ["plain", "noisy"].index(pictures)
    images = [each[column] for each in drawn]
    questions = [[asked.question for asked in each[2]] for each in drawn]
    decided = model.decide(images, questions, batch_size=64)
    asked = [asked for each in drawn for asked in each[2]]
    flat = [decision for each in decided for decision in each]
    return [each.task for each in asked], flat, [each.truth for each in asked]


def score(
    tasks: list[str], decided: list[Decision], truths: list[Any]
) -> dict[str, dict[str, float]]:
    """Accuracy and ECE (15 bins of equal width) of each task, and of all."""
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for task, decision, truth in zip(tasks, decided, truths, strict=True):
        row = decision.probability, float(decision.value == truth)
        rows[task].append(row)
        rows["all"].append(row)
    return {
        task: {
            "decisions": len(own),
            "accuracy": float(np.mean([right for _, right in own])),
            "ece": expected_calibration_error(*np.array(own).T, num_bins=15),
        }
        for task, own in sorted(rows.items())
    }


def calibrated(
    decided: list[Decision], calibration: DecisionCalibration
) -> list[Decision]:
    """The same decisions under another calibration."""
    found = []
    for decision in decided:
        values = decision.question.values
        scores = np.array([decision.log_probabilities[value] for value in values])
        shares = calibration(decision.question.kind, scores)
        best = values[int(shares.argmax())]
        probabilities = dict(zip(values, shares.tolist()))
        found.append(replace(decision, value=best, probabilities=probabilities))
    return found


def check_captions(model: Any, count: int) -> dict[str, float]:
    """How well things that were put into captions are told from those that are there.

    AUROC is the share of pairs of one of each in which the true one is likelier.
    """
    there, swapped = [], []
    for index in range(count):
        rng = scenes.scene_generator(HELD_OUT_SEED, index)
        scene = scenes.sample_scene(rng)
        chosen = int(rng.integers(len(scene.objects)))
        names = [item.name for item in scene.objects]
        absent = [
            f"{color} {shape}" for color in scenes.COLORS for shape in scenes.SHAPES
        ]
        near = [name for name in absent if name not in names]
        # Half of the time one that shares its colour or its shape.
        words = set(names[chosen].split())
        alike = [name for name in near if words & set(name.split())]
        names[chosen] = str(rng.choice(alike if rng.random() < 0.5 else near))
        articles = ["an" if name[0] == "o" else "a" for name in names]
        text = " and ".join(f"{a} {name}" for a, name in zip(articles, names))
        checked = model.check_caption(scenes.render(scene, 224), text)
        assert [thing.name for thing in checked.things] == names, text
        for i, thing in enumerate(checked.things):
            (swapped if i == chosen else there).append(thing.probability)
    for index in range(count):
        rng = scenes.scene_generator(HELD_OUT_SEED, index)
        scene = scenes.sample_scene(rng)
        checked = model.check_caption(scenes.render(scene, 224), scenes.caption(scene))
        there += [thing.probability for thing in checked.things]
    low, high = np.array(swapped), np.array(there)
    wins = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    return {
        "swapped": len(low),
        "there": len(high),
        "auroc": float(wins),
        "mean_swapped": float(low.mean()),
        "mean_there": float(high.mean()),
        "swapped_below_half": float((low < 0.5).mean()),
        "there_below_half": float((high < 0.5).mean()),
    }


def main(
    preset: Annotated[
        str, typer.Option(help="Name or directory; a directory to calibrate.")
    ] = "pali_gemma2_nano",
    count: Annotated[int, typer.Option("--scenes", help="How many scenes.")] = 500,
    calibration: Annotated[
        bool, typer.Option("--calibrate", help="Fit the probabilities anew first.")
    ] = False,
    captions: Annotated[int, typer.Option(help="How many captions to check.")] = 300,
) -> None:
    """Measure a nano preset's decisions."""
    from keras_pg2 import PaliGemma2CausalLM

    start = time.perf_counter()
    model = PaliGemma2CausalLM.from_preset(preset)
    if calibration:
        drawn = draw(CALIBRATION_SEED, count)
        parts = [decide(model, drawn, each) for each in ("plain", "noisy")]
        words = (
            f"{count} scenes of series {CALIBRATION_SEED}, plain and as small noisy "
            "pictures"
        )
        model.decision_calibration = DecisionCalibration.fit(
            [each for part in parts for each in part[1]],
            [each for part in parts for each in part[2]],
            words,
        )
        model.decision_calibration.save(preset)
    figures: dict[str, Any] = {"calibration": str(model.decision_calibration)}
    drawn = draw(HELD_OUT_SEED, count)
    raw = DecisionCalibration()
    for name in ("plain", "noisy"):
        tasks, decided, truths = decide(model, drawn, name)
        figures[f"{name}, of the network"] = score(
            tasks, calibrated(decided, raw), truths
        )
        figures[f"{name}, calibrated"] = score(tasks, decided, truths)
    if captions:
        figures["captions"] = check_captions(model, captions)
    print(json.dumps(figures, indent=1))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    typer.run(main)
