"""Draw the rows that README.md fine-tunes on: pictures and their tags.

    python scripts/draw_example_rows.py --output examples/tags

The bundled preset says the same in a sentence.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from keras_pg2.datasets import scenes

SEED = 2_026  # Not one of those that the preset was trained on.
SIZE = 112


def draw_rows(output: Path, num_rows: int) -> None:
    """Write pictures and `train.jsonl`."""
    output.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(num_rows):
        scene = scenes.sample_scene(scenes.scene_generator(SEED, index))
        picture = Image.fromarray(scenes.render(scene, SIZE))
        name = f"{index:02d}.png"
        picture.save(output / name, optimize=True)
        tags = ", ".join(each.name for each in scene.objects)
        lines.append({"image": name, "prefix": "caption en", "suffix": tags})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (output / "train.jsonl").write_text(text)
    print(f"{len(lines)} rows in {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("examples/tags"))
    parser.add_argument("--rows", type=int, default=96, help="Number of pictures.")
    arguments = parser.parse_args()
    draw_rows(arguments.output, arguments.rows)
