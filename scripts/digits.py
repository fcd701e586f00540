"""Writes a small real data set for fine-tuning: scanned digits.

    python scripts/digits.py digits/
    keras-pg2 finetune --data digits/train.jsonl \\
        --eval-data digits/validation.jsonl ...
    python scripts/evaluate_digits.py digits/ --adapter run/adapter.safetensors

The digits are the 1797 of the UCI repository that scikit-learn brings along
(`sklearn.datasets.load_digits`, 8 x 8 pixels of 17 levels, by 43 people; pip install
scikit-learn), enlarged. `train.jsonl`, `validation.jsonl` and `test.jsonl` ask for one
digit; `detect_train.jsonl` and so on for the boxes of several on a canvas. No scan is
in two of the three parts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from keras_pg2.codecs.location_tokens import boxes_yxyx_to_text, normalize_boxes_xyxy

QUESTION = "answer en what digit is this?"
SIDE = 84
CANVAS = 168
NUM_CANVASES = {"test": 300, "validation": 150}
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def main() -> None:
    """Writes pictures and JSON lines into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="Folder; made if it is not there.")
    parser.add_argument("--canvases", type=int, default=2500, help="To train on.")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pictures, digits = load_digits(return_X_y=True)
    scans = 255 - np.round(pictures.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)
    rng = np.random.default_rng(arguments.seed)
    order = rng.permutation(len(scans))
    num_test = round(TEST_SHARE * len(scans))
    stop = num_test + round(VALIDATION_SHARE * len(scans))
    parts = {
        "test": order[:num_test],
        "validation": order[num_test:stop],
        "train": order[stop:],
    }
    for part, indices in parts.items():
        write_questions(arguments.output, part, scans, digits, indices)
        count = NUM_CANVASES.get(part, arguments.canvases)
        write_canvases(arguments.output, part, scans[indices], digits[indices], count)
    counts = ", ".join(f"{len(indices)} to {part}" for part, indices in parts.items())
    print(f"{arguments.output}: {counts}")


def write_questions(
    folder: Path, part: str, scans: np.ndarray, digits: np.ndarray, indices: np.ndarray
) -> None:
    """One digit a picture, `<part>.jsonl`."""
    (folder / "digits").mkdir(parents=True, exist_ok=True)
    with (folder / f"{part}.jsonl").open("w") as file:
        for i in sorted(indices):
            name = f"digits/{i:04d}.png"
            enlarge(scans[i], SIDE).save(folder / name)
            row = {"image": name, "prefix": QUESTION, "suffix": str(digits[i])}
            file.write(json.dumps(row) + "\n")


def write_canvases(
    folder: Path, part: str, scans: np.ndarray, digits: np.ndarray, count: int
) -> None:
    """Two to four digits a canvas that do not overlap, `detect_<part>.jsonl`.

    The answer has the boxes cell by cell, in lines from the top left.
    """
    rng = np.random.default_rng(len(scans))
    (folder / "canvases").mkdir(parents=True, exist_ok=True)
    with (folder / f"detect_{part}.jsonl").open("w") as file:
        for number in range(count):
            name = f"canvases/{part}_{number:05d}.png"
            canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
            cells = rng.permutation(4)[: rng.integers(2, 5)]
            boxes, labels = [], []
            for cell in sorted(cells):
                i = rng.integers(len(scans))
                side = int(rng.integers(48, 73))
                free = CANVAS // 2 - side
                left = int(cell % 2 * CANVAS // 2 + rng.integers(free + 1))
                top = int(cell // 2 * CANVAS // 2 + rng.integers(free + 1))
                picture = enlarge(scans[i], side)
                canvas.paste(picture, (left, top))
                boxes.append(find_ink(picture) + np.array([left, top, left, top]))
                labels.append(str(digits[i]))
            canvas.save(folder / name)
            locations = boxes_yxyx_to_text(
                normalize_boxes_xyxy(np.array(boxes, float), CANVAS, CANVAS)
            )
            suffix = " ; ".join(f"{a} {b}" for a, b in zip(locations, labels))
            prefix = "detect " + " ; ".join(sorted(set(labels)))
            row = {"image": name, "prefix": prefix, "suffix": suffix}
            file.write(json.dumps(row) + "\n")


def find_ink(picture: Image.Image) -> np.ndarray:
    """int[4], x1 y1 x2 y2 around what is not nearly white."""
    ys, xs = np.nonzero(np.asarray(picture.convert("L")) < 200)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def enlarge(scan: np.ndarray, side: int) -> Image.Image:
    """A scan as an RGB picture of `side` x `side` pixels."""
    resized = Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC)
    return resized.convert("RGB")


if __name__ == "__main__":
    main()
