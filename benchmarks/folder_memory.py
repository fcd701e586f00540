"""Memory of `keras-pg2 segment FOLDER`, from the first picture to the last.

    python -m benchmarks.folder_memory --output benchmarks/results/folder_memory.json
    python -m benchmarks.folder_memory --checkout ../before --side before \
        --output benchmarks/results/folder_memory.json
    python -m benchmarks.folder_memory --plot benchmarks/results/folder_memory.json

The folder has copies of one picture of 12 megapixels. The command runs in a process of
its own, of this checkout or of another one; its resident memory is read from /proc, so
on Linux alone, whenever it has printed what is in a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZE = (4000, 3000)
LABELS = "circle,square,star,triangle"
IMAGE = Path("docs/images/folder_memory.png")
COMMAND = "import sys; from keras_pg2.cli import main; sys.exit(main())"
_FOUND = re.compile(r"pixels\): \d+ found")


def draw_folder(folder: Path, count: int) -> None:
    """Write copies of a large picture, each under its own name."""
    from PIL import Image

    from keras_pg2.datasets import scenes

    scene = scenes.sample_scene(scenes.scene_generator(seed=3, index=27))
    picture = Image.fromarray(scenes.render(scene, 750))
    first = folder / "0000.jpg"
    picture.resize(SIZE, Image.Resampling.BICUBIC).save(first, quality=90)
    for i in range(1, count):
        shutil.copy(first, folder / f"{i:04d}.jpg")


def resident_mb(pid: int) -> float:
    """Return the memory that a process has now, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def measure(checkout: Path, count: int) -> dict[str, Any]:
    """Return MB after each picture of a folder, as a checkout's command goes on."""
    with tempfile.TemporaryDirectory() as folder:
        draw_folder(Path(folder), count)
        # What is printed tells that a picture is done; the file has the masks.
        coco = Path(folder) / "masks.json"
        words = ["segment", folder, "--labels", LABELS, "--no-draw", "--coco", coco]
        environment = {
            **os.environ,
            "KERAS_BACKEND": "torch",
            "PYTHONPATH": str(checkout),
            "PYTHONUNBUFFERED": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *map(str, words)],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        found = [
            round(resident_mb(process.pid), 1)
            for line in process.stdout
            if _FOUND.search(line)
        ]
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, f"the command ended with {status}"
        assert len(found) == count, (len(found), count)
    return {"after_each_picture_mb": found, "peak_mb": round(usage.ru_maxrss / 1e3, 1)}


def plot(results: dict[str, Any]) -> None:
    """Draw the memory of each side over the pictures that are done."""
    from matplotlib import pyplot as plt

    _, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for side, measured in results.items():
        values = [mb / 1e3 for mb in measured["after_each_picture_mb"]]
        label = f"{side} (peak {measured['peak_mb'] / 1e3:.1f} GB)"
        axis.plot(range(1, len(values) + 1), values, label=label)
    axis.set(xlabel="pictures of 12 megapixels done", ylabel="resident, GB", ylim=0)
    axis.legend()
    plt.savefig(IMAGE, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--side", default="now", help="name of the checkout in results")
    parser.add_argument("--output", type=Path, help="file that the side is added to")
    parser.add_argument("--plot", type=Path, help="file of results to draw")
    choice = parser.parse_args()
    if choice.plot:
        plot(json.loads(choice.plot.read_text()))
        return
    measured = measure(choice.checkout.resolve(), choice.pictures)
    values = measured["after_each_picture_mb"]
    print(f"first {values[0]}, last {values[-1]}, peak {measured['peak_mb']} MB")
    if choice.output:
        is_there = choice.output.exists()
        results = json.loads(choice.output.read_text()) if is_there else {}
        text = json.dumps({**results, choice.side: measured}, indent=1) + "\n"
        choice.output.write_text(text)


if __name__ == "__main__":
    main()
