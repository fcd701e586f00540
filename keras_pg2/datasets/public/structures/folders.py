"""Folders of pictures, where a reader of the whole file looks for them."""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.public.published_files import Pictures


def find_folder(directory: Path, *names: str) -> Path:
    """Return the first folder of a directory that is there.

    Args:
        directory: The directory of the data set.
        names: Folders below it, as versions of the data set have them.

    Raises:
        FileNotFoundError: if there is none; says what is there.
    """
    Pictures(directory, *names)
    return next(directory / name for name in names if (directory / name).is_dir())
