"""Weights as small whole numbers, in the forms that ONNX Runtime multiplies by.

A matrix is taken some rows at a time, so that its float32 copy is never whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

SUFFIXES = {None: "", "float16": "_fp16", "int8": "_quantized", "int4": "_q4"}
"""Of file names, as transformers.js has them for its `DTYPES`."""
DTYPES = {None: "fp32", "float16": "fp16", "int8": "q8", "int4": "q4"}
"""What transformers.js calls them."""
BLOCK_SIZE = 32
"""Inputs that share a scale."""
_NUMBERS_AT_A_TIME = 2**24


def block_quantize(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Rounds blocks of a row to whole numbers of their largest one.

    That one, with its sign, becomes -8 of 4 bits, so that all 16 numbers are used (as
    in ONNX Runtime's own quantizer and llama.cpp's q4_0; where another number is as
    large with the other sign, it becomes 7). Of 8 bits it becomes -127 or 127.

    Args:
        matrix: float[F, D], a row for each output.
        bits: 8 or 4. Zero is stored as 2 ** (bits - 1).

    Returns:
        uint8[F, blocks, BLOCK_SIZE * bits / 8] (of two 4-bit numbers in a byte the
        first is the lower half), and float32[F, blocks] scales; the last block of a
        row is filled up with zeros.
    """
    num_rows, width = matrix.shape
    num_blocks = -(-width // BLOCK_SIZE)
    zero = 2 ** (bits - 1)
    blocks = np.empty((num_rows, num_blocks, BLOCK_SIZE * bits // 8), np.uint8)
    scales = np.empty((num_rows, num_blocks), np.float32)
    for rows in row_blocks(matrix.shape):
        part = matrix[rows].astype(np.float32)
        part = np.pad(part, ((0, 0), (0, num_blocks * BLOCK_SIZE - width)))
        part = part.reshape(len(part), num_blocks, BLOCK_SIZE)
        place = np.abs(part).argmax(axis=-1, keepdims=True)
        largest = np.take_along_axis(part, place, axis=-1)[:, :, 0]
        scales[rows] = largest / -zero if bits == 4 else np.abs(largest) / (zero - 1)
        divisor = np.where(scales[rows] != 0, scales[rows], 1)[:, :, None]
        whole = np.rint(part / divisor).clip(-zero, zero - 1)
        whole = (whole + zero).astype(np.uint8)
        if bits == 4:
            whole = whole[:, :, 0::2] | whole[:, :, 1::2] << 4
        blocks[rows] = whole
    return blocks, scales


def row_quantize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float[V, D] -> int8[V, D] and float32[V, 1], a scale for each row."""
    whole = np.empty(matrix.shape, np.int8)
    scales = np.empty((len(matrix), 1), np.float32)
    for rows in row_blocks(matrix.shape):
        part = matrix[rows].astype(np.float32)
        scales[rows] = np.abs(part).max(axis=1, keepdims=True) / 127
        whole[rows] = np.rint(part / np.where(scales[rows] > 0, scales[rows], 1))
    return whole, scales


def row_blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Slices of the first axis, of some millions of numbers each."""
    step = max(_NUMBERS_AT_A_TIME // max(math.prod(shape[1:]), 1), 1)
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
