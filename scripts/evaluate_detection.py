"""Boxes, masks and scores of a nano preset on held-out scenes of all sizes.

    KERAS_BACKEND=torch python scripts/evaluate_detection.py \\
        --preset presets/pali_gemma2_nano_84 --calibrate \\
        --diagram docs/images/reliability.png

Pictures are between 40 and 1600 pixels wide and between 40 and 1200 high, most of them
stretched, a quarter of them files that are stored turned (EXIF). Every picture is asked
for all four shapes at once, there or not, and each of its objects is asked for alone
by its full name.

`--calibrate` first fits the preset's score calibration on scenes of another series and
writes it into the preset's directory. The diagram shows how often things with about
that score are right (the right label, and IoU >= 0.5 with an object of its own).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image
from rich.progress import track

from keras_pg2 import metrics
from keras_pg2.codecs import Detections, box_iou
from keras_pg2.codecs.detection_scores import fit_calibration
from keras_pg2.datasets import scenes

HELD_OUT_SEED, CALIBRATION_SEED = 3, 4
"""Series of scenes; training sees neither, nor does its curve."""
MAX_DETECTIONS = 8
BATCH_SIZE = 25
TURNED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
TURNED[8] = Image.Transpose.ROTATE_270
"""EXIF orientations, and how a picture is stored that they turn upright."""


class Case(NamedTuple):
    """A scene as a picture file, and what is in it.

    Attributes:
        file: may be stored turned.
        size: width and height, upright.
        names: full names of the objects.
        truth: their shapes, boxes and masks.
    """

    file: Path
    size: tuple[int, int]
    names: tuple[str, ...]
    truth: Detections


def draw_cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """Draws scenes of a series into a folder."""
    for index in range(count):
        rng = scenes.scene_generator(seed, index)
        scene = scenes.sample_scene(rng)
        width = round(np.exp(rng.uniform(np.log(40), np.log(1600))))
        aspect = np.exp(rng.uniform(-1, 1) * np.log(300 / 40))
        height = int(np.clip(round(width * aspect), 40, 1200))
        width = int(np.clip(width, height * 40 / 300, height * 300 / 40))
        drawn = max(width, height, scenes.CANVAS_SIZE)
        picture = Image.fromarray(scenes.render(scene, drawn)).resize((width, height))
        planes = [
            np.asarray(Image.fromarray(mask).resize((width, height)))
            for mask in scenes.masks(scene, drawn)
        ]
        unit = np.array([width, height, width, height]) / scenes.CANVAS_SIZE
        boxes = scenes.boxes_xyxy(scene) * unit
        file = folder / f"{seed}_{index}.png"
        orientation = int(rng.choice([1, 3, 6, 8], p=[0.75, 0.05, 0.1, 0.1]))
        exif = Image.Exif()
        exif[0x0112] = orientation
        if orientation != 1:
            picture = picture.transpose(TURNED[orientation])
        picture.save(file, exif=exif)
        truth = Detections(
            tuple(item.shape for item in scene.objects),
            boxes.astype(np.float32),
            np.array(planes),
        )
        names = tuple(item.name for item in scene.objects)
        yield Case(file=file, size=(width, height), names=names, truth=truth)


def are_right(found: Detections, truth: Detections) -> np.ndarray:
    """bool[N], which of the things found are an object that no better one is."""
    right = np.zeros(len(found), bool)
    overlaps = box_iou(found.boxes_xyxy, truth.boxes_xyxy)
    free = set(range(len(truth)))
    assert found.scores is not None
    for i in np.argsort(-found.scores, kind="stable"):
        candidates = [j for j in free if truth.labels[j] == found.labels[i]]
        best = max(candidates, key=lambda j: overlaps[i, j], default=None)
        if best is not None and overlaps[i, best] >= 0.5:
            right[i] = True
            free.remove(best)
    return right


def calibrate(model: Any, count: int, folder: Path) -> Any:
    """Fits the scores of `detect` on scenes of the calibration series."""
    features: list[np.ndarray] = []

    def keep(answer_features: np.ndarray) -> np.ndarray:
        features.append(answer_features)
        return np.exp(answer_features[:, 0])

    model.score_calibration = keep
    right = []
    for case in track(
        list(draw_cases(CALIBRATION_SEED, count, folder)), description="Calibrating"
    ):
        found = model.detect(
            str(case.file), scenes.SHAPES, max_detections=8, min_score=0
        )
        right.append(are_right(found, case.truth))
    words = (
        f"{count} scenes of series {CALIBRATION_SEED}, detect with all shapes; right "
        "is the right label and IoU >= 0.5"
    )
    return fit_calibration(np.concatenate(features), np.concatenate(right), words)


def find_all(model: Any, cases: list[Case]) -> tuple[list[Detections], ...]:
    """`detect` and `segment` with all shapes, `segment` for each object alone.

    And `detect` with all shapes at once and one by one.
    """
    boxes, masks, alone, both = [], [], [], []
    for start in track(range(0, len(cases), BATCH_SIZE), description="Looking"):
        part = cases[start : start + BATCH_SIZE]
        files = [str(case.file) for case in part]
        options = {
            "max_detections": MAX_DETECTIONS,
            "min_score": 0,
            "batch_size": BATCH_SIZE,
        }
        boxes += model.detect(files, scenes.SHAPES, **options)
        both += model.detect(files, scenes.SHAPES, asked="both", **options)
        masks += model.segment(files, scenes.SHAPES, **options)
        asked = [(str(c.file), [name]) for c in part for name in c.names]
        alone += model.segment([a[0] for a in asked], [a[1] for a in asked], **options)
    return boxes, masks, alone, both


def refer(model: Any, cases: list[Case], alone: list[Detections]) -> Any:
    """RefCOCO's scores: one object a question, of all things found the surest."""
    sizes = [case.size for case in cases for _ in case.names]
    truths = [
        case.truth.take([i]) for case in cases for i in range(len(case.truth.labels))
    ]
    texts = [
        found.tokens[int(np.argmax(found.scores))] if len(found) else ""
        for found in alone
    ]
    answers = metrics.read_referring_answers(
        texts, sizes, model.mask_codec.decode_crops
    )
    return metrics.referring_scores(answers, truths)


def reliability(scores: np.ndarray, right: np.ndarray, num_bins: int = 10) -> list:
    """(mean score, share of right ones, count) of each bin, equally many in each."""
    order = np.argsort(scores)
    return [
        (float(scores[part].mean()), float(right[part].mean()), len(part))
        for part in np.array_split(order, num_bins)
    ]


def draw_diagram(bins: list, error: float, path: Path) -> None:
    """Share of right things against the score."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.6, 4.2), dpi=110)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="ideal")
    means, shares, _ = zip(*bins)
    axes.plot(means, shares, marker="o", color="tab:blue", label="detect")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share that is right")
    axes.set_title(f"Scores on held-out scenes (mean gap {100 * error:.1f} %)", size=10)
    axes.legend(loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(
    preset: Annotated[
        str, typer.Option(help="Name or directory; a directory to calibrate.")
    ] = "pali_gemma2_nano",
    count: Annotated[int, typer.Option("--scenes", help="How many scenes.")] = 1000,
    calibration: Annotated[
        bool, typer.Option("--calibrate", help="Fit the scores anew first.")
    ] = False,
    diagram: Annotated[
        Path | None, typer.Option(help="Picture of the reliability diagram.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON of all figures.")] = None,
) -> None:
    """Measures boxes, masks and scores of a nano preset."""
    from keras_pg2 import PaliGemma2CausalLM

    start = time.perf_counter()
    model = PaliGemma2CausalLM.from_preset(preset)
    with tempfile.TemporaryDirectory() as folder:
        if calibration:
            model.score_calibration = calibrate(model, count, Path(folder))
            model.score_calibration.save(preset)
        cases = list(draw_cases(HELD_OUT_SEED, count, Path(folder)))
        boxes, masks, alone, both = find_all(model, cases)
    truths = [case.truth for case in cases]
    right = np.concatenate([are_right(f, t) for f, t in zip(boxes, truths)])
    scores = np.concatenate([found.scores for found in boxes])
    bins = reliability(scores, right)
    error = sum(n * abs(mean - share) for mean, share, n in bins) / len(scores)
    figures = {
        "scenes": count,
        "detect, boxes": metrics.coco_average_precision(boxes, truths)._asdict(),
        "detect, asked both ways": metrics.coco_average_precision(
            both, truths
        )._asdict(),
        "segment, boxes": metrics.coco_average_precision(masks, truths)._asdict(),
        "segment, masks": metrics.coco_average_precision(
            masks, truths, "masks"
        )._asdict(),
        "each object alone": refer(model, cases, alone)._asdict(),
        "precision": float(right.mean()),
        "recall": float(right.sum() / sum(len(truth) for truth in truths)),
        "reliability": bins,
        "calibration_error": error,
    }
    text = json.dumps(figures, indent=1, default=float)
    print(text)
    print(f"{time.perf_counter() - start:.0f} s")
    if output is not None:
        output.write_text(text + "\n")
    if diagram is not None:
        draw_diagram(bins, error, diagram)


if __name__ == "__main__":
    typer.run(main)
