"""Files of Keras: written whole or not at all, looked at before they are read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import keras

from keras_pg2.files.hdf5_datasets import check_saved_weights
from keras_pg2.files.hdf5_files import disk_file
from keras_pg2.files.whole_files import check_space, replaced, updated

PRESET_WEIGHTS = ("model.weights.h5", "model.weights.json", "model_*.weights.h5")
"""Names of files of which a preset has one or some: others are of another save."""
_SINGLE_FILE = ".weights.h5"
_READ = (".h5", ".hdf5", ".weights.json")
_OPTIMIZER = "optimizer/"
"""Where a file of Keras has the states of an optimizer, one of another in there too."""
_ITEM_BYTES = {"float32": 4, "int32": 4, "int64": 8, "uint8": 1, "int8": 1}
"""Bytes of a number by dtype; of all others two."""

_is_saving_preset: ContextVar[bool] = ContextVar("is_saving_preset", default=False)


@contextmanager
def saving_preset() -> Iterator[None]:
    """Have layers and models inside the block saved as a preset holds them.

    LoRA is merged into the kernels, and how a model was trained is left out: what reads
    a preset, KerasHub for one, knows neither. A layer is not told by Keras what file it
    is written to.
    """
    token = _is_saving_preset.set(True)
    try:
        yield
    finally:
        _is_saving_preset.reset(token)


def is_saving_preset() -> bool:
    """Return whether this is inside a block of `saving_preset`."""
    return _is_saving_preset.get()


class SafeFiles:
    """Has Keras write all of its files or none, and read those that are named alone.

    What is there is replaced once all is written. What Keras sends to other machines,
    or asks about first (`overwrite=False`), is left to it.
    """

    variables: list[keras.Variable]
    trainable_variables: list[keras.Variable]
    optimizer: Any
    compiled: bool

    def save(
        self,
        filepath: str | Path,
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Save an archive (`.keras`) or a directory; see `keras.Model.save`.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        save = partial(super().save, zipped=zipped, **kwargs)  # type: ignore[misc]
        if not _is_ours(filepath, overwrite):
            save(filepath, overwrite=overwrite)
            return
        self._check_space(Path(filepath))
        with replaced(Path(filepath)) as part:
            save(part)

    def save_weights(
        self,
        filepath: str | Path,
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Save `.weights.h5`, or an index and shards; see `keras.Model.save_weights`.

        Raises:
            OSError: if they cannot be written; what was there stays.
        """
        save = partial(super().save_weights, max_shard_size=max_shard_size)  # type: ignore[misc]
        if not _is_ours(filepath, overwrite):
            save(filepath, overwrite=overwrite)
            return
        target = Path(filepath)
        self._check_space(target)
        if max_shard_size is None and target.name.endswith(_SINGLE_FILE):
            with replaced(target) as part, disk_file(part) as file:
                save(file)
        else:
            # Keras names the other files by this one, and opens all of them by itself.
            with updated(target.parent) as folder:
                save(folder / target.name)

    def load_weights(
        self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any
    ) -> None:
        """Read weights that `save_weights` wrote; see `keras.Model.load_weights`.

        States of the optimizer are read too, if the model is compiled and trains what
        was trained then: Keras has no place for them before the first step.

        Keras itself refuses links and numbers that lie elsewhere when it comes to a
        variable, but by then it may have opened what a link leads to, and it reads what
        was never written as zeros.

        Raises:
            OSError: if a file is damaged or missing.
            ValueError: if one names other files, was not written as a whole, or claims
                far more than it has; as Keras, if the weights do not fit.
        """
        path = Path(str(filepath))
        # Keras also reads addresses and folders.
        if path.name.endswith(_READ) and path.exists():
            shapes = check_saved_weights(path)
            states = {s for name, s in shapes.items() if name.startswith(_OPTIMIZER)}
            if states.issuperset(tuple(v.shape) for v in self.trainable_variables):
                self._build_optimizer()
        super().load_weights(filepath, skip_mismatch, **kwargs)  # type: ignore[misc]

    def _build_optimizer(self) -> None:
        """Make the optimizer's variables, if the model is compiled and trains."""
        optimizer = self.optimizer if self.compiled else None
        if optimizer is not None and not optimizer.built and self.trainable_variables:
            optimizer.build(self.trainable_variables)

    def _check_space(self, target: Path) -> None:
        sizes = (
            math.prod(v.shape) * _ITEM_BYTES.get(v.dtype, 2) for v in self.variables
        )
        check_space(target, sum(sizes))


def _is_ours(filepath: str | Path, overwrite: bool) -> bool:
    is_local = isinstance(filepath, str | os.PathLike) and "://" not in str(filepath)
    return is_local and (overwrite or not os.path.exists(filepath))
