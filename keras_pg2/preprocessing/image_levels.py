"""One rule for numbers: arrays of any type become levels 0..255 of three channels."""

from __future__ import annotations

import warnings

import numpy as np

from keras_pg2.checks.texts import printable

ARRAY_FORMS = "[H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (channels last)"
LEVELS_OF_16_BITS = 257
"""65535 / 255"""


def to_rgb_levels(array: np.ndarray, name: str) -> np.ndarray:
    """Return `uint8[H, W, 3]`, or `float32[H, W, 3]` in [0, 255] for floats.

    Args:
        array: `[H, W]` or `[H, W, 1 | 3 | 4]`; see `images.load_rgb`.
        name: What errors and warnings call the picture.

    Raises:
        TypeError: if it holds no numbers.
        ValueError: if it has a wrong shape, no pixels, values that are not finite, or
            integers outside 0..255.
    """
    return _to_three_channels(_to_levels(_check_shape(array, name), name))


def _check_shape(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " It looks channels first: transpose it with (1, 2, 0)."
        raise ValueError(
            f"Expected {name} as an array {ARRAY_FORMS}; received shape "
            f"{tuple(array.shape)}.{hint}"
        )
    if array.size == 0:
        raise ValueError(
            f"Expected {name} to have pixels, received shape {tuple(array.shape)}."
        )
    return array


def _to_levels(array: np.ndarray, name: str) -> np.ndarray:
    """uint8 levels of integers, float32 levels in [0, 255] of floats."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        # Alpha may fill all bits where the colours do not.
        divisor = sixteen_bit_divisor(int(array[..., :3].max()), name)
        rounded = (array.astype(np.uint32) + divisor // 2) // divisor
        return rounded.astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise ValueError(
                f"Expected {name} to hold integer levels 0..255, received "
                f"{low}..{high} as {array.dtype}. Scale them, and pass uint8."
            )
        return array.astype(np.uint8)
    if not _is_float(array.dtype):
        raise TypeError(
            f"Expected {name} to hold integers or floats, received {array.dtype}. Pass "
            "uint8."
        )
    with np.errstate(over="ignore"):  # Infinite then, which is told below.
        levels = array.astype(np.float32)
    if not np.isfinite(levels).all():
        raise ValueError(
            f"Expected {name} to hold finite values, received NaN or infinity in an "
            f"array of shape {tuple(array.shape)}. Repair or leave out this picture."
        )
    colours, alpha = levels[..., :3], levels[..., 3:]
    are_whole = bool((colours == np.floor(colours)).all())
    ends = float(colours.min()), float(colours.max())
    factors = [float_range_factor(*ends, are_whole, name)] * colours.shape[-1]
    if alpha.size:
        factors.append(alpha_factor(float(alpha.max())))
    return np.clip(levels * np.array(factors, np.float32), 0, 255)


def _is_float(dtype: np.dtype) -> bool:
    """Also bfloat16 and float8, which NumPy does not call floats."""
    if dtype.kind == "V":
        return dtype.names is None and np.can_cast(dtype, np.float32)
    return dtype.kind == "f"


def float_range_factor(
    low: float, high: float, are_whole: bool, name: str = "image"
) -> float:
    """Return what brings float colours of these extremes to levels 0..255; may warn.

    Floats are levels 0..255, except that a picture within -0.5 and 2, 2 excluded, is
    taken for 0..1. The room around 0..1 is for what resizing overshoots and for noise.
    A picture of levels 0..255 can only be mistaken if its brightest level is below 2 of
    255, and one of whole levels only if it has no others than 0 and 1. Normalised
    pictures ([-1, 1], or by mean and deviation) reach lower than -0.5.

    Args:
        low: Least value, finite.
        high: Greatest value, finite.
        are_whole: Whether all values are whole numbers, as levels are.
        name: What warnings call the picture.
    """
    name = printable(name)
    expected = f"Expected float values of {name} in 0..255, received {low:g}..{high:g}."
    if low >= -0.5 and 0 < high < 2:
        clipped = ""
        if low < 0 or high > 1:
            clipped = (
                " What lies outside 0..1 is clipped. If the picture was normalised to "
                "[-1, 1], pass (image + 1) * 127.5."
            )
        warnings.warn(
            f"{expected} They are taken for 0..1 and multiplied by 255.{clipped} Pass "
            "image * 255, or uint8, to say so yourself.",
            stacklevel=2,
        )
        return 255.0
    if low < 0 or high > 255:
        warnings.warn(
            f"{expected} They are clipped to 0..255. Pass the unnormalised picture; if "
            "it was normalised to [-1, 1], pass (image + 1) * 127.5.",
            stacklevel=2,
        )
    elif 0 < high < 16 and not are_whole:
        warnings.warn(
            f"{expected} They are taken as they are, which is nearly black. If they "
            "are 0..1 with some brighter ones, pass image.clip(0, 1) * 255.",
            stacklevel=2,
        )
    return 1.0


def alpha_factor(high: float) -> float:
    """Return what brings float alpha of this greatest value to 0..255.

    Colours of 0..255 often have alpha of 0..1; alpha that is less than 2 of 255 all
    over would leave nothing to see.
    """
    return 255.0 if high < 2 else 1.0


def sixteen_bit_divisor(high: int, name: str = "image") -> int:
    """Return what brings 16-bit levels to 0..255: 257, whatever they are; may warn.

    Cameras and X-rays put 8, 10 or 12 bits into 16, which would be nearly black.

    Args:
        high: Greatest level, except of alpha.
        name: What warnings call the picture.
    """
    if 0 < high < 2**12:
        num_bits = max(8, high.bit_length())
        shifted = f"(image >> {num_bits - 8})" if num_bits > 8 else "image"
        warnings.warn(
            f"Expected 16-bit levels of {printable(name)} in 0..65535, received "
            f"0..{high}. They are divided by 257, which is nearly black "
            f"(0..{high / 257:.0f} of 255). If they have {num_bits} bits, pass "
            f"{shifted}.astype('uint8') of their array.",
            stacklevel=2,
        )
    return LEVELS_OF_16_BITS


def _to_three_channels(levels: np.ndarray) -> np.ndarray:
    """Repeat grey; blend the fourth channel (alpha, of 255) over white."""
    if levels.shape[-1] == 1:
        return np.repeat(levels, 3, axis=-1)
    if levels.shape[-1] == 3:
        return levels
    alpha = levels[..., 3:] / 255
    blend = alpha * levels[..., :3] + (1 - alpha) * 255
    return (np.round(blend) if levels.dtype == np.uint8 else blend).astype(levels.dtype)
