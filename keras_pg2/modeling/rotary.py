"""Rotary position embedding, half-split as in Gemma and transformers.

Axes: B batch, T length, N heads, H head_dim.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any

ROTARY_BASE = 10_000.0
"""Wavelength base of Gemma 1 and 2 (big_vision `models/ppp/gemma.py`)."""


def apply_rotary(x: Tensor, positions: Tensor) -> Tensor:
    """Rotates the pairs `(x[h], x[h + H / 2])` by angles that grow with position.

    Angles and rotation are computed in float32, whatever the type of `x`:
    positions beyond 256 have no exact bfloat16.

    Args:
        x: float[B, T, N, H], queries or keys, H even.
        positions: int32[B, T].

    Returns:
        float[B, T, N, H] in the dtype of `x`.
    """
    half = x.shape[-1] // 2
    exponent = ops.arange(half, dtype="float32") / half
    inverse_wavelength = ops.power(ROTARY_BASE, -exponent)
    # [B, T, 1, H / 2]
    angle = ops.cast(positions, "float32")[:, :, None, None] * inverse_wavelength
    cos, sin = ops.cos(angle), ops.sin(angle)
    first, second = ops.split(ops.cast(x, "float32"), 2, axis=-1)
    rotated = ops.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
    return ops.cast(rotated, x.dtype)
