"""A checkpoint of any format, opened: its architecture and where its tensors are.

Opening reads headers and configurations, no weights, and checks all of them
against each other. Keras is not needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.architecture import count_parameters, variable_shapes
from keras_pg2.conversion.tables.blocks import BlockSource
from keras_pg2.conversion.tables.weight_table import (
    Row,
    TensorSource,
    check_keys,
    check_shapes,
    check_types,
    read_variable,
)
from keras_pg2.preprocessing.preset_files import PresetFiles
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
        preset_files: What a preset has for detection; other formats have no place for
            it.
    """

    tokenizer: bytes | None
    sequence_length: int
    interpolation: str = "bicubic"
    antialias: bool = True
    preset_files: PresetFiles | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A model as files hold it.

    Attributes:
        format: name of the format, as `keras-pg2 convert --to` takes it.
        path: the directory or file.
        architecture: arguments of the backbone.
        preprocessing: of pictures and text.
        notes: what a user should know, a sentence each, such as what was not taken
            from the files and why.
        rows: the weight table; empty for quantized weights.
        source: the tensors; none when opened without weights.
        ignorable: reason to leave a key of the file out, by regular expression.
        policies: serialised dtype policies of quantized weights, which Keras alone
            can read; None for float weights.
    """

    format: str
    path: Path
    architecture: Architecture
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    source: TensorSource = field(default_factory=BlockSource)
    ignorable: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, Any] | None = None

    def with_weights(
        self,
        rows: Sequence[Row],
        source: TensorSource,
        ignorable: Mapping[str, str] | None = None,
    ) -> Checkpoint:
        """Return the checkpoint with float weights, after `check`."""
        checkpoint = replace(self, rows=rows, source=source, ignorable=ignorable or {})
        checkpoint.check()
        return checkpoint

    def check_is_float(self) -> None:
        """Check that the weights are floats, which other formats can hold.

        Raises:
            ValueError: if they are quantized.
        """
        if self.policies is not None:
            raise ValueError(
                f"Expected a preset of float weights. Received: {self.path}, a "
                "quantised one. Take the preset it was quantised from, and call "
                "`quantize` again."
            )

    def check(self) -> dict[str, str]:
        """Check that tensors, configuration and network fit one another.

        Returns:
            Keys of the files that are left out, each with its reason; none without
            float weights, of which alone there is a table.

        Raises:
            ValueError: naming all keys, types, shapes and variables that do not fit.
        """
        if not self.rows:
            return {}
        try:
            ignored = check_keys(self.rows, self.source.keys(), self.ignorable)
            check_types(self.rows, self.source)
            check_shapes(self.rows, self.source, variable_shapes(**self.architecture))
        except ValueError as error:
            raise ValueError(f"{error} This is about {self.path}.") from error
        return ignored

    @property
    def num_parameters(self) -> int:
        """Number of weights of the backbone."""
        return count_parameters(**self.architecture)

    @property
    def keys(self) -> set[str]:
        """Keys of the tensors of weights; empty when opened without weights."""
        return {row.theirs for row in self.rows} or set(self.source.keys())

    @property
    def num_bytes(self) -> int:
        """Size of the weights in their own types."""
        return sum(
            math.prod(self.source.shape(key)) * self.source.dtype(key).itemsize
            for key in self.keys
        )

    @property
    def stored_types(self) -> list[str]:
        """Names of the types of weights in the files."""
        return sorted({self.source.stored_type(key) for key in self.keys})

    def variables(self) -> Iterator[tuple[str, np.ndarray]]:
        """Path and value of every variable, one at a time, in the files' order."""
        for row in self.rows:
            yield row.ours, read_variable(self.source, row)
