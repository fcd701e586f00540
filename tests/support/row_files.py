"""Small pictures and rows about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NUM_PICTURES = 5


def write_pictures(folder: Path) -> list[Path]:
    """Five pictures of different sizes, each of one colour: its place times 40."""
    paths = []
    for place in range(NUM_PICTURES):
        levels = np.full((20 + 4 * place, 30, 3), 40 * place, np.uint8)
        paths.append(folder / f"{place}.png")
        Image.fromarray(levels).save(paths[-1])
    return paths


def make_rows(folder: Path) -> list[dict[str, str]]:
    """A row about each picture, the response is its place."""
    return [
        {"images": str(path), "prompts": "caption en", "responses": str(place)}
        for place, path in enumerate(write_pictures(folder))
    ]
