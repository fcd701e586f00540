"""Switching floats of 8 bits, gemma.cpp's compressed weights.

A byte is a sign and a code of 7 bits. Codes below 64 are numbers below 2 ** -7 with 2
bits of mantissa, those from 64 on numbers from there up to 1.875 with 3; code 0 is zero
(gemma.cpp `compression/sfp-inl.h`). Larger tensors have a scale beside them.
"""

from __future__ import annotations

import numpy as np

MAX_SFP = 1.875


def _magnitudes() -> np.ndarray:
    """float32[128], the number of each code."""
    codes = np.arange(128, dtype=np.uint32)
    small = (0x34 << 8) + (codes << 5)
    large = (0x38 << 8) + (codes << 4)
    bits = np.where(codes < 64, small, large)
    bits[0] = 0
    return (bits << 16).view(np.float32)


_MAGNITUDES = _magnitudes()
_DECODED = np.concatenate([_MAGNITUDES, -_MAGNITUDES])
# A tie lies where a bfloat16 number can be; it goes to the even code.
_TIES = (_MAGNITUDES[1:] + _MAGNITUDES[:-1]) / 2


def _encoded_by_bits() -> np.ndarray:
    """uint8[65536]: the code of each bfloat16 by its bits."""
    bits = np.arange(1 << 15, dtype=np.uint32)
    values = (bits << 16).view(np.float32)
    codes = np.searchsorted(_TIES, values)  # A tie to the lower code,
    is_tie = np.isin(values, _TIES) & (codes % 2 == 1)  # unless that is odd.
    codes = (codes + is_tie).astype(np.uint8)
    return np.concatenate([codes, codes | 0x80])


_ENCODED = _encoded_by_bits()


def decode_sfp(codes: np.ndarray, scale: float) -> np.ndarray:
    """uint8 codes and the scale of their tensor -> float32 of the same shape."""
    return _DECODED[codes] * np.float32(scale)


def encode_sfp(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Rounds to the nearest switching float.

    Args:
        values: of a float type; finite.

    Returns:
        uint8 codes of the same shape, and the scale to multiply them by: 1 unless a
        number is larger than 1.875.
    """
    values = values.astype(np.float32)
    scale = max(1.0, float(np.abs(values).max(initial=0)) / MAX_SFP)
    if scale > 1:
        values = values / np.float32(scale)
    bits = values.view(np.uint32)
    # The upper half is a bfloat16. What was cut off leaves a mark in its last bit,
    # which no tie has: so a number just above a tie is not taken for it.
    upper = (bits >> 16).astype(np.uint16)
    upper |= (bits & 0xFFFF) != 0
    return _ENCODED[upper], float(np.float32(scale))
