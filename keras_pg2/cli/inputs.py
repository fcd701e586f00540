"""Pictures that commands are given, files or addresses: found, checked, read.

An address of the web is a `Path` too, as what the command line reads is.
"""

from __future__ import annotations

import functools
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
    """Return files and addresses as they are, and all pictures of each folder.

    Args:
        paths: Files, folders and addresses of the web (`https:`).
        drawn: Suffixes of copies drawn earlier, as "boxes" of NAME_boxes.png; in a
            folder these are left out beside their originals.

    Raises:
        FileNotFoundError: if there is neither a file nor a folder of that name.
        ValueError: if there is no picture in a folder.
    """
    from keras_pg2.preprocessing.image_files import check_image_file
    from keras_pg2.preprocessing.image_folders import list_pictures

    endings = tuple(f"_{suffix}" for suffix in drawn)
    found: list[Path] = []
    for path in map(expand_user, paths):
        if address_of(path) is not None:
            found.append(path)
            continue
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


def check_pictures(paths: Sequence[Path], is_drawn: bool = True) -> CheckedPictures:
    """Decode every picture once, so that bad ones are known before the model loads.

    Args:
        paths: Files and addresses.
        is_drawn: Whether all of their pixels will be needed, as for drawing; the model
            alone may be shown larger ones.

    Returns:
        The good ones, with `~` replaced, and what is wrong with the others.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError, OSError: if there are files or addresses, and no good one.
    """
    good, errors = [], []
    for path in map(expand_user, paths):
        try:
            read_picture(path, None if is_drawn else (1, 1))
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            errors.append(error)
        else:
            good.append(path)
    if errors and not good:
        raise errors[0]
    return CheckedPictures(good, list(map(str, errors)))


def read_picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return uint8[H, W, 3] of a picture, upright, transparency over white.

    Args:
        path: File or address.
        size: (height, width) that the model goes on to stretch it to, where only the
            model sees it; a very large picture is shrunk then. None gives all pixels.
    """
    from keras_pg2.preprocessing.images import load_rgb

    address = address_of(path)
    picture = path if address is None else _fetch(address)
    return np.round(load_rgb(picture, describe(path), size)).astype(np.uint8)


def address_of(path: Path) -> str | None:
    """Return the address of the web that a path is, of which pathlib took a slash."""
    from keras_pg2.preprocessing.image_files import web_address

    return web_address(os.fspath(path))


def describe(path: Path) -> str:
    """Return what answers and records call a picture."""
    return address_of(path) or str(path)


@functools.cache
def _fetch(address: str) -> bytes:
    """The bytes of a picture file, fetched once in the life of a command."""
    from keras_pg2.preprocessing.image_sources import download

    return download(address)
