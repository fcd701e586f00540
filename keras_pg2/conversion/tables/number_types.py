"""The number types of weights: names, checks, rounding."""

from __future__ import annotations

import ml_dtypes
import numpy as np

DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
"""Types of weights in files by their names."""


_READ_AS = {np.dtype(np.float64): DTYPES["float32"]}


def weight_type(dtype: np.dtype) -> np.dtype:
    """Return the type that numbers in a file are read as.

    float64 is read as float32, and the other byte order as the machine's; what is no
    float stays what it is.
    """
    native = dtype.newbyteorder("=")
    return _READ_AS.get(native, native)


def as_weights(values: np.ndarray) -> np.ndarray:
    """Return numbers of a file in their `weight_type`; too large ones are infinite."""
    dtype = weight_type(values.dtype)
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def is_finite(tensor: np.ndarray) -> bool:
    """Whether there is no NaN and no infinity; also for bfloat16."""
    if tensor.dtype.itemsize != 2:
        return bool(np.isfinite(tensor).all())
    # All ones in the exponent. In blocks that stay in the cache, this is as fast as
    # memory; isfinite of bfloat16 and float16 is not.
    exponent = 0x7C00 if tensor.dtype == np.float16 else 0x7F80
    bits = np.ascontiguousarray(tensor).view(np.uint16).reshape(-1)
    block = 1 << 17
    magnitudes = np.empty(min(block, bits.size), np.uint16)
    for start in range(0, bits.size, block):
        some = bits[start : start + block]
        np.bitwise_and(some, 0x7FFF, out=magnitudes[: some.size])
        if magnitudes[: some.size].max() >= exponent:
            return False
    return True


def cast(value: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Rounds to another type, to the nearest number, ties to even.

    Raises:
        ValueError: when a number is too large for it.
    """
    if value.dtype == dtype:
        return value
    with np.errstate(over="ignore"):
        result = value.astype(dtype)
    if not is_finite(result):
        raise ValueError(
            f"Expected numbers that {dtype} can hold (at most "
            f"{float(ml_dtypes.finfo(dtype).max):.4g}). Received: larger ones in "
            f"{name}. Take bfloat16 or float32."
        )
    return result
