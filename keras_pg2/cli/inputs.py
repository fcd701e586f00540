"""Picture files that commands are given: found, checked, read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_pg2.cli.outputs import expand_user


class CheckedPictures(NamedTuple):
    """Picture files of which the bad ones are known.

    Attributes:
        good: Those that can be read.
        errors: What is wrong with each of the others.
    """

    good: list[Path]
    errors: list[str]


def find_pictures(paths: Sequence[Path], drawn: Iterable[str] = ()) -> list[Path]:
    """Return files as they are, and all pictures of each folder.

    Args:
        paths: Files and folders.
        drawn: Suffixes of copies drawn earlier, as "boxes" of NAME_boxes.png; in a
            folder these are left out beside their originals.

    Raises:
        FileNotFoundError: if there is neither a file nor a folder of that name.
        ValueError: if there is no picture in a folder.
    """
    from keras_pg2.preprocessing.image_files import check_image_file
    from keras_pg2.tasks.answering.prediction_rows import list_pictures

    endings = tuple(f"_{suffix}" for suffix in drawn)
    found: list[Path] = []
    for path in map(expand_user, paths):
        if not os.path.isdir(path):
            found.append(check_image_file(path))
            continue
        images = list_pictures(path)
        stems = {image.parent / image.stem for image in images}
        for image in images:
            original = image.parent / image.stem.rpartition("_")[0]
            if not (image.stem.endswith(endings) and original in stems):
                found.append(image)
    return found


def check_pictures(paths: Sequence[Path]) -> CheckedPictures:
    """Decode every file once, so that bad ones are known before the model loads.

    Returns:
        The good ones, with `~` replaced, and what is wrong with the others.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError, OSError: if there are files, and no good one.
    """
    from keras_pg2.preprocessing.images import read_image

    good, errors = [], []
    for path in map(expand_user, paths):
        try:
            read_image(path)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            errors.append(error)
        else:
            good.append(path)
    if errors and not good:
        raise errors[0]
    return CheckedPictures(good, list(map(str, errors)))


def read_picture(path: Path) -> np.ndarray:
    """Return uint8[H, W, 3] of a file, upright, transparency over white."""
    from keras_pg2.preprocessing.images import load_rgb

    return np.round(load_rgb(path)).astype(np.uint8)
