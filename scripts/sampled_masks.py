"""Random masks of many forms, cut to their box: what the mask codec learns from."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from keras_pg2.datasets import scenes

_CANVAS = 192
_SCENE_SHARE = 0.4


def sample_mask(rng: np.random.Generator) -> np.ndarray:
    """A mask that touches all four sides of its picture, bool[h, w], h and w 8..192.

    Four in ten are objects of scenes; the others are ellipses, polygons, stars, round
    blobs, unions of these, and some with a hole or a bite taken out.
    """
    while True:
        is_of_scene = rng.random() < _SCENE_SHARE
        mask = _scene_mask(rng) if is_of_scene else _free_mask(rng)
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if len(rows) and min(np.ptp(rows), np.ptp(columns)) >= 7:
            return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scene_mask(rng: np.random.Generator) -> np.ndarray:
    scene = scenes.sample_scene(rng)
    size = int(rng.choice([84, 168, 336]))
    masks = scenes.masks(scene, size)
    return masks[rng.integers(len(masks))]


def _free_mask(rng: np.random.Generator) -> np.ndarray:
    mask = _outline(rng)
    for _ in range(int(rng.choice(3, p=[0.6, 0.3, 0.1]))):
        mask |= _outline(rng)
    if rng.random() < 0.3:
        mask &= ~_outline(rng)
    # Seldom as wide as high, and of many sizes.
    height, width = rng.integers(24, _CANVAS + 1, 2)
    picture = Image.fromarray(mask).resize((int(width), int(height)))
    return np.asarray(picture)


def _outline(rng: np.random.Generator) -> np.ndarray:
    """One simple form somewhere on the canvas, bool[192, 192]."""
    picture = Image.new("L", (_CANVAS, _CANVAS))
    ImageDraw.Draw(picture).polygon(_corners(rng), fill=1)
    return np.asarray(picture).astype(bool)


def _corners(rng: np.random.Generator) -> list[tuple[float, float]]:
    kind = rng.choice(["ellipse", "polygon", "star", "blob", "box"])
    count = {"ellipse": 60, "blob": 60, "box": 4}.get(kind, int(rng.integers(3, 9)))
    if kind == "star":
        count *= 2
    angles = np.arange(count) * 2 * math.pi / count
    radii = np.ones(count)
    if kind == "polygon":
        angles = np.sort(rng.uniform(0, 2 * math.pi, count))
        radii = rng.uniform(0.5, 1, count)
    elif kind == "star":
        radii[1::2] = rng.uniform(0.3, 0.7)
    elif kind == "blob":
        for frequency in range(2, 6):
            phase, height = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.12)
            radii = radii + height * np.cos(frequency * angles + phase)
    elif kind == "box":
        angles = angles + math.pi / 4
    stretch = rng.uniform(0.25, 0.5, 2) * _CANVAS
    x, y = radii * np.cos(angles) * stretch[0], radii * np.sin(angles) * stretch[1]
    angle = rng.uniform(0, 2 * math.pi) if rng.random() < 0.7 else 0.0
    rotated = (
        x * math.cos(angle) - y * math.sin(angle),
        x * math.sin(angle) + y * math.cos(angle),
    )
    center = rng.uniform(0.3, 0.7, 2) * _CANVAS
    return list(zip(*(part + c for part, c in zip(rotated, center))))
