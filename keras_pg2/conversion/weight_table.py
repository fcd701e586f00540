"""Conversion as a table: one row says where one variable stands in a file.

A format is described by its rows alone. Reading goes through them in one
direction (`Transform.forward`), writing in the other (`Transform.inverse`). All
rows are checked against the file and the backbone before the first tensor is
read, and tensors pass one at a time from the file to their variable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

MAX_NAMES_IN_ERROR = 8


@dataclass(frozen=True)
class Transform:
    """How a tensor of a file becomes the value of a variable, and back.

    Attributes:
        name: for reports.
        forward: file to variable.
        inverse: variable to file.
    """

    name: str
    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


IDENTITY = Transform("identity", lambda x: x, lambda x: x)
TRANSPOSE = Transform("transpose", np.transpose, np.transpose)
CONV = Transform(
    "convolution",  # [out, in, height, width] <-> [height, width, in, out]
    lambda x: np.transpose(x, (2, 3, 1, 0)),
    lambda x: np.transpose(x, (3, 2, 0, 1)),
)


def first_rows(count: int) -> Transform:
    """Takes the first `count` rows; the way back adds none."""
    return Transform(f"first {count} rows", lambda x: x[:count], lambda x: x)


class Row(NamedTuple):
    """One variable and its tensor.

    Attributes:
        ours: path of the variable in the backbone.
        theirs: key of the tensor in the file.
        transform: what lies between them.
    """

    ours: str
    theirs: str
    transform: Transform = IDENTITY


class TensorSource(Protocol):
    """A file of named tensors that gives them one at a time."""

    def keys(self) -> Iterable[str]:
        """Names of all tensors."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""

    def read(self, key: str) -> np.ndarray:
        """A tensor's values, in the file's own type."""


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
        Row(ours.format(i) + row.ours, theirs.format(i) + row.theirs, row.transform)
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
    needed = Counter(row.theirs for row in rows)
    present = set(keys)
    ignored = {
        key: reason
        for key in sorted(present - needed.keys())
        for pattern, reason in ignorable.items()
        if re.fullmatch(pattern, key)
    }
    problems = {
        "missing from the file": sorted(needed.keys() - present),
        "in the file, but not of this model": sorted(
            present - needed.keys() - ignored.keys()
        ),
        "asked for more than once": [k for k, count in needed.items() if count > 1],
    }
    _raise_if_any("the tensors of the file to be those of the model", problems)
    return ignored


def check_variables(
    rows: Sequence[Row], source: TensorSource, variables: Mapping[str, Any]
) -> None:
    """Checks that every variable is written once, by a tensor of its shape.

    Raises:
        ValueError: naming all variables and shapes that do not fit.
    """
    written = Counter(row.ours for row in rows)
    misfits = []
    for row in rows:
        shape = source.shape(row.theirs)
        # A view of one zero: a shape to transform that takes no memory.
        becomes = row.transform.forward(np.broadcast_to(np.float32(0), shape)).shape
        expected = variables[row.ours].shape if row.ours in variables else becomes
        if tuple(becomes) != tuple(expected):
            misfits.append(
                f"{row.theirs} {tuple(shape)} ({row.transform.name} gives "
                f"{tuple(becomes)}, {row.ours} is {tuple(expected)})"
            )
    problems = {
        "variables no tensor is for": sorted(variables.keys() - written.keys()),
        "tensors for no variable": sorted(written.keys() - variables.keys()),
        "variables written more than once": [k for k, c in written.items() if c > 1],
        "of another shape": misfits,
    }
    _raise_if_any("the tensors of the file to fit the backbone", problems)


def assign(
    rows: Sequence[Row], source: TensorSource, variables: Mapping[str, Any]
) -> None:
    """Fills variables from a file, one tensor at a time.

    Args:
        rows: the table.
        source: the file.
        variables: the backbone's variables by path; each casts to its own type.

    Raises:
        ValueError: before anything is assigned, when a tensor does not fit.
    """
    check_variables(rows, source, variables)
    for row in rows:
        variables[row.ours].assign(row.transform.forward(source.read(row.theirs)))


def _raise_if_any(expected: str, problems: Mapping[str, list[str]]) -> None:
    found = [
        f"{len(names)} {problem}: {', '.join(names[:MAX_NAMES_IN_ERROR])}"
        + (", ..." if len(names) > MAX_NAMES_IN_ERROR else "")
        for problem, names in problems.items()
        if names
    ]
    if found:
        raise ValueError(f"Expected {expected}. Received: {'; '.join(found)}.")
