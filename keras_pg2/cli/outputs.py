"""Where pictures are written: decided before long work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from keras_pg2.files.whole_files import replaced
from keras_pg2.preprocessing.image_files import web_address

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Kinds of files that hold an RGB picture as it is."""


def expand_user(path: str | os.PathLike[str]) -> Path:
    """A path with its leading `~` replaced; unchanged where nobody is of that name."""
    return Path(os.path.expanduser(path))


def plan_outputs(
    images: Sequence[Path],
    output: Path | None,
    suffix: str,
    given: Sequence[Path] = (),
) -> list[Path]:
    """Where each annotated picture will be written; never over a picture that is read.

    In a folder for them pictures keep their sub-folders, as seen from the folder that
    all of `given` are in.

    Args:
        images: the picture files.
        output: a file (one picture, a name with one of `ENDINGS`), a folder, or None
            for `NAME_{suffix}.png` beside each picture; for one of the web, in the
            working folder.
        suffix: what a picture of the folder is called after its own name.
        given: files and folders that the pictures were found by; () for themselves.

    Raises:
        ValueError: when two pictures would be written to one file, an input would be
            overwritten, one file is named for several pictures, or the name has an
            ending that is none of `ENDINGS`.
        OSError: when a folder cannot be made or written to, or stands in the place of
            a file.
    """
    output = output and expand_user(output)
    if output is not None and output.suffix and not os.path.isdir(output):
        _check_ending(output)
        if len(images) > 1:
            raise ValueError(
                f"Expected --draw to be a folder for {len(images)} pictures, "
                f"received the file {str(output)!r}. Name a folder."
            )
        targets = [output]
    else:
        folders = [_folder_of(image) for image in images]
        if output is not None:
            folders = [output / part for part in _sub_folders(images, given or images)]
        targets = [
            folder / f"{image.stem}_{suffix}.png"
            for folder, image in zip(folders, images)
        ]
    _check_targets(images, targets)
    for folder in dict.fromkeys(target.parent for target in targets):
        _make_folder(folder)
    for target in targets:
        _check_place(target)
    return targets


def _folder_of(image: Path) -> Path:
    """The folder of a picture; of one of the web the working folder."""
    return Path() if _is_remote(image) else image.parent


def _sub_folders(images: Sequence[Path], given: Sequence[Path]) -> list[Path]:
    """Folders of pictures, as seen from the one that all of `given` are in."""
    paths = [expand_user(path) for path in given if not _is_remote(path)]
    tops = [path if os.path.isdir(path) else path.parent for path in paths]
    try:
        common = os.path.commonpath(list(map(os.path.abspath, tops)))
    except ValueError:  # No common folder, as on two drives of Windows.
        return [Path()] * len(images)
    return [
        Path() if _is_remote(image) else _seen_from(common, image.parent)
        for image in images
    ]


def _seen_from(folder: str, other: Path) -> Path:
    return Path(os.path.relpath(os.path.abspath(other), folder))


def _is_remote(image: Path) -> bool:
    return web_address(os.fspath(image)) is not None


def prepare_folder(output: Path) -> Path:
    """Makes a folder for pictures.

    Raises:
        ValueError: when it is named like a file.
        OSError: when it cannot be made or written to.
    """
    output = expand_user(output)
    if output.suffix and not os.path.lexists(output):
        raise ValueError(
            f"Expected --output to be a folder, received {str(output)!r}, which is "
            "named like a file. Name a folder, or make this one first."
        )
    _make_folder(output)
    return output


def save_picture(picture: Image.Image, target: Path) -> None:
    """Writes a picture, replacing the file of that name once it is whole.

    Raises:
        OSError: when it cannot be written.
    """
    try:
        with replaced(target) as part:
            picture.save(part)
    except (OSError, ValueError) as error:
        raise OSError(
            f"Expected to write a picture of {picture.width} x {picture.height} pixels "
            f"to {str(target)!r}, but: {error}. Choose another place for it."
        ) from error


def _check_ending(output: Path) -> None:
    if output.suffix.lower() not in ENDINGS:
        raise ValueError(
            "Expected --output to be a folder, or a picture file that ends in "
            f"{', '.join(ENDINGS)}. Received: {str(output)!r}. Choose one of these "
            "endings; a folder of this name has to be made first."
        )


def _check_targets(images: Sequence[Path], targets: Sequence[Path]) -> None:
    inputs = {os.path.realpath(image) for image in images}
    image_of: dict[Path, Path] = {}
    for image, target in zip(images, targets):
        if os.path.realpath(target) in inputs:
            raise ValueError(
                f"Expected --output apart from the pictures that are read, received "
                f"{str(target)!r}, which is one of them. Choose another name."
            )
        first = image_of.setdefault(target, image)
        if first is not image:
            raise ValueError(
                f"Expected pictures of different names, but {first} and {image} "
                f"would both be drawn to {target}. Detect in one of them at a time."
            )


def _make_folder(folder: Path) -> None:
    """Makes a folder and tries to write to it, which permissions alone do not tell."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise OSError(
            f"Expected a folder to write pictures to, but {str(folder)!r} is none. "
            "Choose another place for it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            "Expected a folder that can be made and written to, received "
            f"{str(folder)!r} ({error.strerror}). Choose another place for it."
        ) from error


def _check_place(target: Path) -> None:
    """Makes sure that nothing but a file is in the way."""
    try:
        is_folder = target.is_dir()
    except OSError as error:
        raise OSError(
            f"Expected a file name to write a picture to, received {str(target)!r} "
            f"({error.strerror}). Choose another place for it."
        ) from error
    if is_folder:
        raise OSError(
            f"Expected to write the picture {str(target)!r}, but a folder of that name "
            "is there. Choose another place, or move the folder."
        )
