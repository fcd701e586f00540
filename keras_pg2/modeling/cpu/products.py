"""Products of a few rows with a large matrix, as decoding has them, on a CPU.

A token of an answer reads every weight once, so the memory decides how long it takes;
but the CPU code of XLA and PyTorch reads a kernel for one row on one core. The same
sums as a batch of smaller products are read on all: for the shapes of a 290M decoder
they take 0.6 to 0.9 of the time. The vocabulary has a quicker form for a few rows too.
On accelerators, in other dtypes and for more rows nothing is changed.

Axes: B rows, D inputs, F outputs, V vocabulary, Q queries, S keys, H head_dim.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_pg2.modeling.cpu.choice import is_used
from keras_pg2.typing import Tensor

FEW_ROWS = 32
"""As many as are waited for by reading the matrix, more or less."""
SMALL_KERNEL, LARGE_KERNEL = 1 << 17, 1 << 20
"""Numbers of a matrix whose sums are worth 4 parts, or 8; less is in a core's cache."""
VOCABULARY_PARTS = 64


def multiply_by_kernel(x: Tensor, kernel: Tensor) -> Tensor:
    """float[..., D], float[D, F] -> float[..., F], as `ops.matmul`."""
    num_inputs, num_outputs = kernel.shape
    size = num_inputs * num_outputs
    if (
        size < SMALL_KERNEL
        or _count_rows(x) != 1
        or not _is_float32(x)
        or not is_used(x)
    ):
        return ops.matmul(x, kernel)
    num_parts = 8 if size >= LARGE_KERNEL else 4
    if keras.config.backend() == "torch":
        kernel = ops.convert_to_tensor(kernel)
        if kernel.stride(0) == 1:
            # Of a Hugging Face file, where outputs come first in memory.
            row = ops.reshape(x, (1, num_inputs))
            outputs = _multiply_by_parts(row, ops.transpose(kernel), num_parts)
            return ops.reshape(outputs, (*x.shape[:-1], num_outputs))
    num_parts = math.gcd(num_inputs, num_parts)
    # Parts of the sum over D, as those are together in memory.
    parts = ops.reshape(kernel, (num_parts, -1, num_outputs))
    sums = ops.matmul(ops.reshape(x, (num_parts, 1, -1)), parts)
    return ops.reshape(ops.sum(sums, axis=0), (*x.shape[:-1], num_outputs))


def join_rows_and_heads(query: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors as the cache has them, for the queries of one token on a CPU.

    XLA's CPU code would copy the cache otherwise (kv_cache.py).

    Args:
        query: float[B, N, T, H].
        *tensors: float[B, K, S, H], keys and values.

    Returns:
        float[B * K, S, H] if T is 1 on a CPU, otherwise the tensors themselves.
    """
    # T is no integer where shapes are symbolic.
    if query.shape[2] != 1 or not is_used(query):
        return tensors
    return tuple(ops.reshape(x, (-1, *ops.shape(x)[2:])) for x in tensors)


def multiply_by_keys(query: Tensor, keys: Tensor) -> Tensor:
    """float[..., Q, H], float[..., S, H] -> float[..., Q, S]

    Rows and heads are one axis for the few queries of one token on a CPU: XLA's CPU
    code takes up to four times as long for two queries as for one twice.
    """
    if len(query.shape) != 3 or not is_used(query):
        return ops.matmul(query, transposed(keys))
    if keras.config.backend() == "torch" or not _is_float32(query):
        # The queries are transposed, not all keys.
        return transposed(ops.matmul(keys, transposed(query)))
    columns = transposed(keys)
    rows = ops.split(query, query.shape[1], axis=1)
    return ops.concatenate([ops.matmul(row, columns) for row in rows], axis=1)


def transposed(x: Tensor) -> Tensor:
    """[..., n, m] -> [..., m, n]"""
    return ops.swapaxes(x, -2, -1)


def multiply_by_vocabulary(hidden: Tensor, table: Tensor) -> Tensor:
    """float[..., D], float[V, D] -> float[..., V]"""
    num_rows = _count_rows(hidden)
    if (
        num_rows is None
        or num_rows > FEW_ROWS
        or len(hidden.shape) != 2
        or not _is_float32(hidden)
        or not is_used(hidden)
    ):
        return ops.einsum("...d,vd->...v", hidden, table)
    is_torch = keras.config.backend() == "torch"
    return (_multiply_on_torch if is_torch else _multiply_in_xla)(hidden, table)


def _multiply_in_xla(hidden: Tensor, table: Tensor) -> Tensor:
    """float[B, D], float[V, D] -> float[B, V]"""
    if hidden.shape[0] == 1:
        # It reads a table for one row on all cores by itself.
        return ops.einsum("bd,vd->bv", hidden, table)
    # The same as one product, but that XLA does not see it and so keeps the table on
    # the left, which it multiplies faster by a few columns than a few rows by it.
    logits = ops.einsum("bd,pvd->pbv", hidden, _parts_of(table, VOCABULARY_PARTS))
    return ops.reshape(ops.transpose(logits, (1, 0, 2)), (hidden.shape[0], -1))


def _multiply_on_torch(hidden: Tensor, table: Tensor) -> Tensor:
    """float[B, D], float[V, D] -> float[B, V]"""
    num_rows = hidden.shape[0]
    if 1 < num_rows <= 4:
        return ops.transpose(ops.matmul(table, ops.transpose(hidden)))
    return _multiply_by_parts(hidden, table, VOCABULARY_PARTS)


def _multiply_by_parts(x: Tensor, table: Tensor, num_parts: int) -> Tensor:
    """float[B, D], float[F, D] -> float[B, F], a few outputs at a time.

    Each part as rows times a matrix: transposed, as a part times a column, MKL took
    0.8 of the time on one processor, and 3.7 times as long on another.
    """
    parts = _parts_of(table, num_parts)
    rows = ops.broadcast_to(x, (len(parts), *x.shape))
    outputs = ops.matmul(rows, ops.transpose(parts, (0, 2, 1)))
    if x.shape[0] > 1:
        outputs = ops.transpose(outputs, (1, 0, 2))
    return ops.reshape(outputs, (x.shape[0], -1))


def _parts_of(table: Tensor, num_parts: int) -> Tensor:
    """[V, D] -> [P, V / P, D], P of `num_parts` where V can be divided by it."""
    num_parts = math.gcd(table.shape[0], num_parts)
    return ops.reshape(table, (num_parts, -1, table.shape[1]))


def first_largest(x: Tensor) -> Tensor:
    """float[..., V] -> int32[...], the index of the (first) largest number.

    XLA's CPU code looks for the index of a maximum one number after another, but for
    maxima alone eight at a time; so the maxima of groups come first.
    """
    if not is_used(x):
        return ops.cast(ops.argmax(x, axis=-1), "int32")
    size = x.shape[-1]
    num_groups = math.gcd(size, 128)
    groups = ops.reshape(x, (*ops.shape(x)[:-1], num_groups, size // num_groups))
    group = ops.argmax(ops.max(groups, axis=-1), axis=-1)
    chosen = ops.take_along_axis(groups, group[..., None, None], axis=-2)[..., 0, :]
    index = ops.argmax(chosen, axis=-1)
    return ops.cast(group, "int32") * (size // num_groups) + ops.cast(index, "int32")


def _count_rows(x: Tensor) -> int | None:
    """Return the rows of float[..., D]; None if shapes are symbolic."""
    sizes = x.shape[:-1]
    return math.prod(sizes) if all(isinstance(n, int) for n in sizes) else None


def _is_float32(x: Tensor) -> bool:
    return keras.backend.standardize_dtype(x.dtype) == "float32"
