"""Conversion as a table: one row says where one variable stands in a file.

A format is described by its rows alone. Reading goes through them in one
direction (`Transform.forward`), writing in the other (`Transform.inverse`). All
rows are checked against the file and the network before the first tensor is
read, and tensors pass one at a time.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from keras_pg2.checks.texts import printable
from keras_pg2.conversion.tables.number_types import DTYPES, is_finite
from keras_pg2.conversion.tables.transforms import (
    IDENTITY,
    Shape,
    Transform,
    is_possible,
)

MAX_NAMES_IN_ERROR = 8


@dataclass(frozen=True)
class Part:
    """Where one variable is in a tensor that holds several.

    Attributes:
        shape: of the whole tensor in the file.
        index: of the variable in it, one entry for each of the first axes. Parts
            that are integers only, as of layers stacked on the first axis,
            stand one after another in the file.
        view: the shape that the tensor is given before it is indexed; None for its
            own.
    """

    shape: Shape
    index: tuple[int | slice, ...]
    view: Shape | None = None

    @property
    def is_in_one_piece(self) -> bool:
        """Whether the part's numbers follow one another in the file."""
        return self.view is None and all(isinstance(i, int) for i in self.index)

    def take(self, tensor: np.ndarray) -> np.ndarray:
        """The variable's part of the whole tensor (a view of it)."""
        return tensor.reshape(self.view or self.shape)[self.index]

    def part_shape(self) -> Shape:
        """Shape of the part."""
        return self.take(np.broadcast_to(np.int8(0), self.shape)).shape


class Row(NamedTuple):
    """One variable and its tensor.

    Attributes:
        ours: path of the variable in the backbone.
        theirs: key of the tensor in the file.
        transform: what lies between them.
        part: where in the tensor it is, if the tensor holds several variables;
            `transform` is then of the part.
    """

    ours: str
    theirs: str
    transform: Transform = IDENTITY
    part: Part | None = None

    def stored_shape(self, variable_shape: Shape) -> Shape:
        """Shape of the whole tensor in the file, by that of the variable."""
        if self.part is not None:
            return self.part.shape
        return self.transform.inverse_shape(variable_shape)


def named_rows(
    names: Mapping[str, str], ours: str, theirs: str, transform: Transform = IDENTITY
) -> list[Row]:
    """The rows of a layer of several weights, such as a kernel and its bias.

    Args:
        names: what a file appends to the layer's key, by the names of our weights.
        ours: path of the layer in the backbone.
        theirs: beginning of its keys.
        transform: of the first of the names; the others stand as they are.
    """
    transforms = [transform] + [IDENTITY] * (len(names) - 1)
    return [
        Row(f"{ours}/{name}", theirs + ending, each)
        for (name, ending), each in zip(names.items(), transforms)
    ]


class TensorSource(Protocol):
    """A file of named tensors that gives them one at a time."""

    def keys(self) -> Iterable[str]:
        """Names of all tensors."""

    def shape(self, key: str) -> Shape:
        """Shape of a tensor, without reading it."""

    def dtype(self, key: str) -> np.dtype:
        """Type of a tensor's numbers as `read` gives them, without reading it."""

    def stored_type(self, key: str) -> str:
        """Name of the type of a tensor's numbers in the file."""

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        """A tensor's values, or those of a part of it."""


def expand_layers(
    templates: Iterable[Row], num_layers: int, ours: str, theirs: str
) -> list[Row]:
    """Repeats rows for every layer.

    Args:
        templates: rows of one layer, relative to it.
        num_layers: how many layers there are.
        ours: path of layer `{}`, such as "text_decoder/block_{}/".
        theirs: beginning of the keys of layer `{}`.
    """
    templates = list(templates)
    return [
        row._replace(
            ours=ours.format(i) + row.ours, theirs=theirs.format(i) + row.theirs
        )
        for i in range(num_layers)
        for row in templates
    ]


def check_keys(
    rows: Sequence[Row], keys: Iterable[str], ignorable: Mapping[str, str]
) -> dict[str, str]:
    """Checks that every key of a file is read once or may be left out.

    Args:
        rows: the table.
        keys: what the file holds.
        ignorable: reason to leave a key out, by regular expression.

    Returns:
        The keys left out, each with its reason.

    Raises:
        ValueError: naming all missing and all unexpected keys.
    """
    needed = {row.theirs for row in rows}
    present = set(keys)
    ignored = {
        key: reason
        for key in sorted(present - needed)
        for pattern, reason in ignorable.items()
        if re.fullmatch(pattern, key)
    }
    problems = {
        "missing from the file": sorted(needed - present),
        "in the file, but not of this model": sorted(present - needed - ignored.keys()),
        "not read exactly once": [
            key for key, own in rows_by_key(rows).items() if not _covers_once(own)
        ],
    }
    _raise_if_any("the tensors of the file to be those of the model", problems)
    return ignored


def rows_by_key(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each tensor, in the order of the table."""
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row.theirs, []).append(row)
    return by_key


def _covers_once(rows: list[Row]) -> bool:
    """Whether rows of a tensor are all of it, and nothing twice."""
    parts = [row.part for row in rows]
    if None in parts:
        return len(parts) == 1
    known = [part for part in parts if part is not None]
    sizes = sum(math.prod(part.part_shape()) for part in known)
    return len({str(part.index) for part in known}) == len(known) and all(
        sizes == math.prod(part.shape) for part in known
    )


def check_shapes(
    rows: Sequence[Row], source: TensorSource, shapes: Mapping[str, Shape]
) -> None:
    """Check that every variable is written once, by a tensor of its shape.

    Raises:
        ValueError: naming all variables and shapes that do not fit.
    """
    written = Counter(row.ours for row in rows)
    misfits = []
    for row in rows:
        shape = tuple(source.shape(row.theirs))
        if row.part is not None and shape != row.part.shape:
            misfits.append(f"{row.theirs} {shape} (expected {row.part.shape})")
            continue
        if not is_possible(shape):
            misfits.append(f"{row.theirs}, which no array has")
            continue
        part_shape = shape if row.part is None else row.part.part_shape()
        # A view of one zero: a shape to transform that takes no memory.
        becomes = row.transform.forward(np.broadcast_to(np.int8(0), part_shape)).shape
        expected = tuple(shapes.get(row.ours, becomes))
        if becomes != expected:
            misfits.append(
                f"{row.theirs} {part_shape} ({row.transform.name} gives {becomes}, "
                f"{row.ours} is {expected})"
            )
    problems = {
        "variables no tensor is for": sorted(shapes.keys() - written.keys()),
        "tensors for no variable": sorted(written.keys() - shapes.keys()),
        "variables written more than once": [k for k, c in written.items() if c > 1],
        "of another shape": misfits,
    }
    _raise_if_any("the tensors of the file to fit the network", problems)


def check_types(rows: Sequence[Row], source: TensorSource) -> None:
    """Check that every tensor is of floats.

    Raises:
        ValueError: naming those that are not, and their types.
    """
    problems = {
        "of other types": [
            f"{key} {source.stored_type(key)}"
            for key in rows_by_key(rows)
            if source.dtype(key) not in DTYPES.values()
        ]
    }
    expected = f"weights of {', '.join(DTYPES)} or float64, not quantised ones"
    _raise_if_any(expected, problems)


def read_variable(source: TensorSource, row: Row) -> np.ndarray:
    """The value of a row's variable, in the file's type.

    Raises:
        ValueError: when a number is NaN or infinite.
    """
    tensor = source.read(row.theirs, row.part)
    if not is_finite(tensor):
        raise ValueError(
            f"Expected finite numbers. Received: NaN or infinity in {row.theirs}. "
            "The checkpoint is damaged, or its training diverged."
        )
    return row.transform.forward(tensor)


def shorten(name: str) -> str:
    """Return a name for a message, without the middle of a very long one."""
    name = printable(name)
    return name if len(name) <= 200 else f"{name[:100]}...{name[-80:]}"


def _raise_if_any(expected: str, problems: Mapping[str, list[str]]) -> None:
    found = [
        f"{len(names)} {problem}: {', '.join(map(shorten, names[:MAX_NAMES_IN_ERROR]))}"
        + (", ..." if len(names) > MAX_NAMES_IN_ERROR else "")
        for problem, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(f"Expected {expected}. Received: {'; '.join(found)}.")
