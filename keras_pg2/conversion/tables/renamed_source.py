"""The tensors of a file under other names than the file's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import Part, TensorSource


class RenamedSource:
    """A source of tensors by the names of a table.

    Args:
        source: the file.
        names: its own name of each tensor, by the table's.
    """

    def __init__(self, source: TensorSource, names: Mapping[str, str]) -> None:
        self._source = source
        self.names = names

    def keys(self) -> Iterable[str]:
        return self.names.keys()

    def shape(self, key: str) -> Shape:
        return self._source.shape(self.names[key])

    def dtype(self, key: str) -> np.dtype:
        return self._source.dtype(self.names[key])

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        return self._source.read(self.names[key], part)
