"""Pictures that are copies of one another, by their names and by how they look.

Roboflow exports several augmented copies of a picture as `NAME_jpg.rf.HASH.jpg`, each
under another hash. Other copies have names of their own: saved again, resized, frames
in which nothing moves. A copy on the other side of a split makes a score look better
than it is.

A picture is compared by what is left of it at 16 x 16 pixels, as a perceptual hash
does, but with levels in the place of bits: so drawn pictures with plain grounds, which
have the same bits, stay apart by the small things in them.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from keras_pg2.preprocessing.image_files import is_path
from keras_pg2.preprocessing.images import open_image

_ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]+(?=\.[^.]*$)")
_SIDE = 16
_MAX_DIFFERENCE = 6
"""Levels of 256 that no part of two copies differs by: JPEG leaves about 3."""


def group_copies(
    pictures: Sequence[Any], together: Iterable[tuple[int, int]] = ()
) -> list[int]:
    """Return a number for each picture, the same for copies of one picture.

    Args:
        pictures: paths, PIL images or arrays. A file that cannot be read is compared by
            its name alone.
        together: pairs of indices that belong together anyway.
    """
    parents = list(range(len(pictures)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    pairs = (together, _same_names(pictures), _alike(pictures))
    for first, second in itertools.chain(*pairs):
        a, b = sorted((root(first), root(second)))
        parents[b] = a
    return [root(index) for index in range(len(pictures))]


def _same_names(pictures: Sequence[Any]) -> list[tuple[int, int]]:
    """Return pairs of augmented copies by Roboflow's names."""
    first: dict[str, int] = {}
    pairs = []
    for index, picture in enumerate(pictures):
        name = os.path.basename(os.fsdecode(picture)) if is_path(picture) else ""
        original, count = _ROBOFLOW.subn("", name)
        if count:
            pairs.append((first.setdefault(original, index), index))
    return pairs


def _alike(pictures: Sequence[Any]) -> list[tuple[int, int]]:
    """Return pairs of pictures that look the same."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        small = list(threads.map(_thumbnail, pictures))
    same: dict[bytes, int] = {}
    pairs = []
    for index, picture in enumerate(small):
        if picture is not None:
            first = same.setdefault(picture.tobytes(), index)
            if first != index:
                pairs.append((first, index))
    indices = np.array(list(same.values()), int)
    if not len(indices):
        return pairs
    levels = np.stack([picture for i in indices if (picture := small[i]) is not None])
    # Means of parts of two copies are no further apart than their levels are: of the
    # whole, by which they are sorted, and of 16 parts, which leave few to compare.
    means = levels.mean(axis=(1, 2, 3))
    order = np.argsort(means)
    indices, levels, means = indices[order], levels[order], means[order]
    part = _SIDE // 4
    parts = levels.reshape(-1, 4, part, 4, part, 3).mean(axis=(2, 4, 5))
    parts = parts.reshape(-1, 16).astype(np.float32)
    ends = np.searchsorted(means, means + _MAX_DIFFERENCE, "right").tolist()
    for i, end in enumerate(ends):
        apart = np.abs(parts[i + 1 : end] - parts[i]).max(axis=1, initial=0)
        near = i + 1 + np.flatnonzero(apart <= _MAX_DIFFERENCE)
        apart = np.abs(levels[near] - levels[i]).max(axis=(1, 2, 3), initial=0)
        found = indices[near[apart <= _MAX_DIFFERENCE]].tolist()
        pairs += [(int(indices[i]), other) for other in found]
    return pairs


def _thumbnail(picture: Any) -> np.ndarray | None:
    """Return int16[16, 16, 3] of a picture; None if it cannot be read."""
    try:
        image = _open_small(picture) if is_path(picture) else open_image(picture)
    except (ValueError, TypeError, OSError, SyntaxError):
        return None
    size = (_SIDE, _SIDE)
    return np.array(image.resize(size, Image.Resampling.BOX), np.int16)


def _open_small(path: Any) -> Image.Image:
    """Return a picture, of a JPEG a smaller one, which is decoded much faster."""
    with Image.open(path) as image:
        if image.format == "JPEG":
            image.draft("RGB", (8 * _SIDE, 8 * _SIDE))
            return ImageOps.exif_transpose(image).convert("RGB")
    return open_image(path)
