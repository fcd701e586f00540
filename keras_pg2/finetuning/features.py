"""Features of pictures for a run: computed once, in place of a frozen vision tower.

They are in the run's directory, so that a run that goes on computes none again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_pg2.datasets.rows import Row, paths_of
from keras_pg2.finetuning.reporting import Report
from keras_pg2.preprocessing.image_features import SUFFIX
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.training.feature_caching import cache_image_features

FEATURES_FOLDER = "features"
_BATCH_SIZE = 8
_HEADER_BYTES = 128
"""Bound of the header of a file."""


def feature_dtype(model: PaliGemma2CausalLM) -> str:
    """Of the files: float32 where the tower computes in it, else float16."""
    dtype = model.backbone.vision_encoder.compute_dtype
    return "float32" if dtype == "float32" else "float16"


def describe_features(
    model: PaliGemma2CausalLM, rows: Sequence[Row], folder: Path
) -> str:
    """How many pictures there are, and what their features take on the disk."""
    num_pictures = len(_pictures(rows))
    size = num_pictures * _file_size(model)
    return (
        f"of {num_pictures:,} pictures, computed once: {_in_words(size)} of "
        f"{feature_dtype(model)} in {folder / FEATURES_FOLDER}"
    )


@contextmanager
def kept_features(
    model: PaliGemma2CausalLM, rows: Sequence[Row], folder: Path, report: Report
) -> Iterator[None]:
    """`fit` and `evaluate` of the model take features of rows from files.

    Args:
        model: its vision tower is frozen and without LoRA.
        rows: of which the features are computed that are not there yet.
        folder: of the run.
        report: is told of each batch of pictures.

    Raises:
        ValueError: when the vision tower trains.
        OSError: when there is no room on the disk.
    """
    preprocessor = model.preprocessor
    assert preprocessor is not None
    before = preprocessor.image_features
    directory = folder / FEATURES_FOLDER
    directory.mkdir(parents=True, exist_ok=True)
    num_there = len(list(directory.glob(f"*{SUFFIX}")))
    _check_room(directory, (len(_pictures(rows)) - num_there) * _file_size(model))
    try:
        dtype = feature_dtype(model)
        cache_image_features(
            model,
            rows,
            directory,
            dtype=dtype,
            batch_size=_BATCH_SIZE,
            on_progress=report.show_pictures,
        )
        yield
    finally:
        preprocessor.image_features = before


def _pictures(rows: Sequence[Row]) -> set[str]:
    return {str(path) for row in rows for path in paths_of(row)}


def _file_size(model: PaliGemma2CausalLM) -> int:
    encoder = model.backbone.vision_encoder
    count: int = encoder.num_image_tokens * encoder.hidden_dim
    return count * np.dtype(feature_dtype(model)).itemsize + _HEADER_BYTES


def _check_room(directory: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < num_bytes:
        raise OSError(
            f"Expected room for image features of {_in_words(num_bytes)} in "
            f"{directory}, but {_in_words(free)} are free. Make room and go on with "
            "--resume (resume=True), or train without cache_features "
            "(--cache-features)."
        )


def _in_words(num_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"
