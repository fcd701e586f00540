"""The picture files of an annotation file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PIL import Image

from keras_pg2.checks.texts import reason
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_entries import CocoId, CocoImage
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.preprocessing.image_decoding import upright_size


def find_images(
    coco: CocoFile,
    image_folder: str | Path,
    wanted: Collection[CocoId] | None = None,
    problems: Problems | None = None,
) -> dict[CocoId, Path]:
    """Return the paths of pictures by id, of those wanted, or of all.

    Args:
        coco: an annotation file.
        image_folder: the folder that its file names are relative to; absolute ones stay
            as they are, as in all data files (`ImageFinder`).
        wanted: ids of the pictures to find; None for all.
        problems: collects what is wrong with pictures that are left out; None stops at
            the first.

    Raises:
        FileNotFoundError: if the folder, or a picture is not there.
        PermissionError: if a picture may not be read.
    """
    problems = problems or Problems("raise")
    finder = ImageFinder(image_folder)
    paths = {}
    for image in coco.images.values():
        if wanted is None or image.id in wanted:
            with problems.of(f"{coco.path}: image {image.id!r}"):
                paths[image.id] = Path(finder.find(image.file_name, "file_name"))
    return paths


def check_sizes(
    coco: CocoFile, paths: dict[CocoId, Path], problems: Problems
) -> dict[CocoId, Path]:
    """Return the paths of those pictures that have the size that the file says.

    Raises:
        ValueError: if one has another size or cannot be read.
    """
    right = {}
    for image_id, path in paths.items():
        with problems.of(f"{coco.path}: image {image_id!r}"):
            _check_size(coco.images[image_id], path)
            right[image_id] = path
    return right


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture as people see it, by its header alone.

    Raises:
        ValueError: if Pillow cannot read the header.
    """
    try:
        with Image.open(path) as picture:
            return upright_size(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"expected an image that Pillow can read, but {str(path)!r} is not one or "
            f"is damaged: {reason(error)}."
        ) from error


def _check_size(image: CocoImage, path: Path) -> None:
    """Check the size of the upright picture, in which boxes are."""
    size = picture_size(path)
    if size != (image.width, image.height):
        raise ValueError(
            f"expected a picture of {image.width} x {image.height} pixels, as the file "
            f"says, found {size[0]} x {size[1]} in {path} (upright). Boxes would be in "
            "other places."
        )
