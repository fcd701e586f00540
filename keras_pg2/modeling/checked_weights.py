"""Weights that Keras reads of files which have been looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.files.hdf5_datasets import check_saved_weights

_ENDINGS = (".h5", ".hdf5", ".weights.json")


class CheckedWeights:
    """A Keras model that reads no other files than the one named.

    Keras itself refuses links and numbers that lie elsewhere when it comes to a
    variable, but by then it may have opened what a link leads to, and it reads what was
    never written as zeros.
    """

    def load_weights(
        self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any
    ) -> None:
        """Read weights that `save_weights` wrote; see `keras.Model.load_weights`.

        Args:
            filepath: A file of weights, or the index of several.
            skip_mismatch: Whether layers of other shapes are left as they are.
            **kwargs: As Keras takes them.

        Raises:
            OSError: if a file is damaged or missing.
            ValueError: if one names other files, was not written as a whole, or claims
                far more than it has; as Keras, if the weights do not fit.
        """
        path = Path(str(filepath))
        # Keras also reads addresses and folders.
        if path.name.endswith(_ENDINGS) and path.exists():
            check_saved_weights(path)
        super().load_weights(filepath, skip_mismatch, **kwargs)  # type: ignore[misc]
