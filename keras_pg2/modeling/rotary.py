"""Rotary position embedding, half-split as in Gemma and transformers.

Axes: B batch, T length, N heads, H head_dim.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_pg2.typing import Tensor

ROTARY_BASE = 10_000.0
"""Wavelength base of Gemma 1 and 2 (big_vision `models/ppp/gemma.py`)."""


class Rotation(NamedTuple):
    """Rotary cosines and sines of some positions, computed once for all layers.

    Attributes:
        cos: float32[B, T, H], the cosines of H / 2 angles, twice.
        sin: float32[B, T, H], their sines, first negative and then positive.
    """

    cos: Tensor
    sin: Tensor


def compute_rotation(positions: Tensor, head_dim: int) -> Rotation:
    """Compute angles that grow with position, in float32 for networks of any dtype.

    Positions beyond 256 have no exact bfloat16.

    Args:
        positions: int32[B, T].
        head_dim: H, even.
    """
    half = head_dim // 2
    exponent = ops.arange(half, dtype="float32") / half
    inverse_wavelength = ops.power(ROTARY_BASE, -exponent)
    # [B, T, H / 2]
    angle = ops.cast(positions, "float32")[:, :, None] * inverse_wavelength
    cos, sin = ops.cos(angle), ops.sin(angle)
    return Rotation(
        ops.concatenate([cos, cos], axis=-1), ops.concatenate([-sin, sin], axis=-1)
    )


def apply_rotary(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the pairs `(x[h], x[h + H / 2])`, in float32.

    Args:
        x: float[B, N, T, H], queries or keys.
        rotation: Rotation of their positions.

    Returns:
        float[B, N, T, H] in the dtype of `x`.
    """
    whole = ops.cast(x, "float32")
    first, second = ops.split(whole, 2, axis=-1)
    swapped = ops.concatenate([second, first], axis=-1)
    cos, sin = (part[:, None] for part in rotation)
    return ops.cast(whole * cos + swapped * sin, x.dtype)
