"""What a frozen vision tower makes of pictures, kept in files.

A directory has one safetensors file per picture: the vision encoder's output, [I, D].
Its name is a hash of the picture (path, size, time of change) and of what made it (the
tower's weights, the way of stretching): a picture or tower that has changed has no file
and is computed anew. NumPy's own format would not do: batches are read in threads, and
its headers are Python's syntax, whose parser fails when two threads of Python 3.12 or
older are in it (github.com/python/cpython/issues/106905).

Axes: B batch, M images of an example, I image tokens, D width of the vision encoder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_pg2.checks.dtypes import check_dtype
from keras_pg2.checks.texts import printable
from keras_pg2.files.whole_files import replaced
from keras_pg2.preprocessing.image_files import check_image_file, is_path

DTYPES = ("float16", "float32")
SUFFIX = ".safetensors"
_KEY = "features"


class ImageFeatures:
    """The files of one tower in one directory.

    Args:
        directory: it is made when it is not there.
        tower: whatever tells one tower from another.
        shape: (I, D).
        dtype: "float16" or "float32".

    Raises:
        ValueError: for another dtype.
    """

    def __init__(
        self,
        directory: str | Path,
        tower: str,
        shape: tuple[int, int],
        dtype: str = "float16",
    ) -> None:
        self.dtype = check_dtype(dtype, DTYPES)
        self.directory = Path(directory).expanduser()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tower = tower
        self.shape = shape

    def file_of(self, picture: Any) -> Path:
        """Where the features of a picture are, or will be.

        Raises:
            ValueError: for anything but a path.
            FileNotFoundError: when there is no such picture.
        """
        if not is_path(picture):
            raise ValueError(
                "Expected pictures as paths, whose features are kept. Received: "
                f"{type(picture).__name__}. Leave augmentations and image_size of the "
                "data set out, which make other pictures of them; or train on pixels: "
                "model.preprocessor.image_features = None."
            )
        path = check_image_file(picture)
        state = path.stat()
        of_picture = (str(path.resolve()), state.st_size, state.st_mtime_ns)
        words = repr((of_picture, self.tower, self.shape, self.dtype))
        name = hashlib.sha256(words.encode()).hexdigest()[:32]
        return self.directory / f"{name}{SUFFIX}"

    def missing(self, pictures: Iterable[Any]) -> list[Any]:
        """Pictures that have no file yet, each once."""
        files = {self.file_of(picture): picture for picture in pictures}
        return [picture for file, picture in files.items() if not _is_written(file)]

    def write(self, pictures: Sequence[Any], features: np.ndarray) -> None:
        """Keeps float[B, I, D]; a file appears whole or not at all.

        Raises:
            ValueError: when numbers are too large for the dtype, or NaN.
        """
        with np.errstate(over="ignore"):
            features = features.astype(self.dtype)
        for picture, value in zip(pictures, features, strict=True):
            if not np.isfinite(value).all():
                raise ValueError(
                    f"Expected finite features of {picture}. Received: NaN, or numbers "
                    f'too large for {self.dtype}. Pass dtype="float32".'
                )
            file = self.file_of(picture)
            # Made again if it is lost, and a sync may take longer than the tower.
            with replaced(file, sync=False) as part:
                save_file({_KEY: value}, part)

    def read(self, images: Sequence[Any]) -> np.ndarray:
        """Features of examples: float16 or float32 [B, M * I, D].

        Args:
            images: one entry an example, a path or a list of M paths.

        Raises:
            ValueError: for pictures that are no paths, or of another number.
            FileNotFoundError: when a picture has no features yet.
        """
        rows = []
        for entry in images:
            pictures = entry if isinstance(entry, list) else [entry]
            rows.append(np.concatenate([self._read(picture) for picture in pictures]))
        if len({len(row) for row in rows}) > 1:
            raise ValueError(
                "Expected as many pictures in each example of a batch. Received: "
                f"{', '.join(str(len(row) // self.shape[0]) for row in rows[:8])}."
            )
        return np.stack(rows)

    def _read(self, picture: Any) -> np.ndarray:
        file = self.file_of(picture)
        if not _is_written(file):
            raise FileNotFoundError(
                f"Expected features of {os.fsdecode(picture)} in {self.directory}, "
                "where there are none of this tower. Call "
                "keras_pg2.cache_image_features(model, rows, directory) with all rows "
                "first."
            )
        try:
            with safe_open(file, "numpy") as tensors:
                features: np.ndarray = tensors.get_tensor(_KEY)
            if features.shape != self.shape or features.dtype != self.dtype:
                raise ValueError(f"{features.dtype}{list(features.shape)}")
            return features
        except (SafetensorError, ValueError) as error:
            raise ValueError(
                f"Expected features {self.dtype}{list(self.shape)} of a picture in "
                f"{file}. Received: {printable(error)}. Remove the file, and call "
                "keras_pg2.cache_image_features again, which makes it anew."
            ) from error


def _is_written(file: Path) -> bool:
    # A loss of power leaves files empty that were not synced.
    return file.is_file() and file.stat().st_size > 0
