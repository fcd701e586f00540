"""What lies between a tensor of a file and a variable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]
_MAX_AXES = 32  # Of arrays of NumPy 1.


def is_possible(shape: Shape) -> bool:
    """Return whether there can be an array of a shape, at 8 bytes a number."""
    return (
        len(shape) <= _MAX_AXES
        and min(shape, default=0) >= 0
        and math.prod(size or 1 for size in shape) < 2**60
    )


@dataclass(frozen=True)
class Transform:
    """How a tensor of a file becomes the value of a variable, and back.

    Attributes:
        name: for reports.
        forward: file to variable.
        inverse: variable to file, as one array or as several that follow one
            another along the first axis.
        inverse_shape: the shape of the tensor in the file, by the variable's.
    """

    name: str
    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray | tuple[np.ndarray, ...]]
    inverse_shape: Callable[[Shape], Shape]


IDENTITY = Transform(
    name="identity",
    forward=lambda x: x,
    inverse=lambda x: x,
    inverse_shape=lambda shape: shape,
)
TRANSPOSE = Transform(
    name="transpose",
    forward=np.transpose,
    inverse=np.transpose,
    inverse_shape=lambda shape: shape[::-1],
)
CONV = Transform(
    name="convolution",  # [out, in, height, width] <-> [height, width, in, out]
    forward=lambda x: np.transpose(x, (2, 3, 1, 0)),
    inverse=lambda x: np.transpose(x, (3, 2, 0, 1)),
    inverse_shape=lambda shape: (shape[3], shape[2], shape[0], shape[1]),
)


def first_rows(num_rows: int) -> Transform:
    """[num_rows or more, ...] of a file <-> [num_rows, ...] of ours."""
    return Transform(
        name=f"first {num_rows} rows",
        forward=lambda x: x[:num_rows],
        inverse=lambda x: x,
        inverse_shape=lambda shape: shape,
    )


def heads_first(width: int, head_dim: int) -> Transform:
    """[heads, width, head_dim] of a file <-> [width, heads * head_dim] of ours."""
    return Transform(
        name="heads first",
        forward=lambda x: np.transpose(x, (1, 0, 2)).reshape(width, -1),
        inverse=lambda x: np.transpose(x.reshape(width, -1, head_dim), (1, 0, 2)),
        inverse_shape=lambda shape: (shape[1] // head_dim, width, head_dim),
    )


def heads_last(width: int, head_dim: int) -> Transform:
    """[heads, head_dim, width] of a file <-> [heads * head_dim, width] of ours."""
    return Transform(
        name="heads and their dimensions apart",
        forward=lambda x: x.reshape(-1, width),
        inverse=lambda x: x.reshape(-1, head_dim, width),
        inverse_shape=lambda shape: (shape[0] // head_dim, head_dim, width),
    )


def flattened(*axes: int) -> Transform:
    """[..., *axes] of a file <-> [..., product of axes] of ours."""
    return Transform(
        name="flatten",
        forward=lambda x: x.reshape(*x.shape[: -len(axes)], -1),
        inverse=lambda x: x.reshape(*x.shape[:-1], *axes),
        inverse_shape=lambda shape: (*shape[:-1], *axes),
    )


def mean_row(table: np.ndarray, rows_at_once: int = 8192) -> np.ndarray:
    """Return the mean of the rows of an embedding, for rows that no token is for.

    A row of zeros could win against all negative logits, the mean hardly can.

    Args:
        table: float[V, D].
        rows_at_once: Rows that are made float32 at a time, as a table may be gigabytes.

    Returns:
        [D] of the type of the table.
    """
    total = np.zeros(table.shape[1], np.float64)
    for start in range(0, len(table), rows_at_once):
        rows = table[start : start + rows_at_once].astype(np.float32)
        total += rows.sum(axis=0, dtype=np.float64)
    return (total / len(table)).astype(table.dtype)
