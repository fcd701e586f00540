"""A checkpoint of any format, opened: its numbers and where its tensors are.

Opening reads headers and configurations, no weights, and checks all of them
against each other. Keras is not needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_pg2.catalogue.architecture import count_parameters, variable_shapes
from keras_pg2.conversion.tables.weight_table import (
    Row,
    TensorSource,
    check_keys,
    check_shapes,
    read_variable,
)
from keras_pg2.typing import Architecture


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint says about the way from pictures and text to arrays.

    Attributes:
        tokenizer: a serialised SentencePiece model; None where the checkpoint has
            none.
        sequence_length: number of text tokens.
        interpolation: "bicubic" or "bilinear", of the stretch to the model's square.
        antialias: whether shrinking averages over all the pixels it drops.
    """

    tokenizer: bytes | None
    sequence_length: int
    interpolation: str = "bicubic"
    antialias: bool = True


@dataclass(frozen=True)
class Checkpoint:
    """A model as files hold it.

    Attributes:
        format: name of the format, as `keras-pg2 convert --to` takes it.
        path: the directory or file.
        architecture: arguments of the backbone.
        rows: the weight table.
        source: the tensors.
        preprocessing: of pictures and text.
        ignorable: reason to leave a key of the file out, by regular expression.
        notes: what a user should know, a sentence each, such as what was not taken
            from the files and why.
    """

    format: str
    path: Path
    architecture: Architecture
    rows: Sequence[Row]
    source: TensorSource
    preprocessing: Preprocessing
    ignorable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def check(self) -> dict[str, str]:
        """Checks that tensors, configuration and network fit one another.

        Returns:
            Keys of the files that are left out, each with its reason.

        Raises:
            ValueError: naming all keys, shapes and variables that do not fit.
        """
        ignored = check_keys(self.rows, self.source.keys(), self.ignorable)
        check_shapes(self.rows, self.source, variable_shapes(**self.architecture))
        return ignored

    @property
    def num_parameters(self) -> int:
        """Number of weights of the backbone."""
        return count_parameters(**self.architecture)

    @property
    def num_bytes(self) -> int:
        """Size of the weights in their own types."""
        keys = {row.theirs for row in self.rows}
        return sum(
            math.prod(self.source.shape(key)) * self.source.dtype(key).itemsize
            for key in keys
        )

    def variables(self) -> Iterator[tuple[str, np.ndarray]]:
        """Path and value of every variable, one at a time, in the files' order."""
        for row in self.rows:
            yield row.ours, read_variable(self.source, row)
