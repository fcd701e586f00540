"""Reading pictures: anything a user may hold becomes RGB levels `[H, W, 3]`."""

from __future__ import annotations

import os
import warnings
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from keras_pg2.preprocessing.image_files import is_path, read_image


class ArrayLike(Protocol):
    """An array of NumPy or a tensor of any backend."""

    @property
    def shape(self) -> Any:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Type of the numbers."""


ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | ArrayLike"
"""A picture: a path, a PIL image, or an array."""

ARRAY_FORMS = "[H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (channels last)"


def is_array(value: Any) -> bool:
    """True for numpy arrays and for tensors of any backend."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def to_numpy(array: Any) -> np.ndarray:
    """A numpy array of a numpy array or of an eager tensor of any backend."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):  # PyTorch, whose bfloat16 numpy cannot take.
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    return array.numpy() if hasattr(array, "numpy") else np.asarray(array)


def open_image(image: ImageInput, name: str = "image") -> Image.Image:
    """RGB picture, upright, with the pixels that the model is shown.

    Photographs are often stored turned, with a note of how to turn them (EXIF
    orientation). `PIL.Image.open` leaves them so, and swaps their width and height
    for boxes, which are of the upright picture. The result has no such note.

    Args:
        image: a path, a PIL image, or an array, as for `load_rgb`.
        name: what error messages call the picture when it has no file name.

    Returns:
        A new picture of mode "RGB"; float arrays are rounded to whole levels.

    Raises:
        FileNotFoundError, PermissionError, TypeError, ValueError: as `load_rgb`.
    """
    levels = load_rgb(image, name)
    return Image.fromarray(np.round(levels).astype(np.uint8))


def load_rgb(image: ImageInput, name: str = "image") -> np.ndarray:
    """RGB levels of one picture.

    - Files and PIL images are turned upright by their EXIF orientation. Transparency
      is laid over white, as transformers 5.23 does; other modes go through
      `convert("RGB")`. 16-bit levels are scaled to 8 bits (`/ 257`).
    - Integer arrays hold levels 0..255 (`uint16`: 0..65535, `bool`: 0 or 1).
    - Float arrays hold levels **0..255**, as in KerasHub. If none exceeds 1 they are
      taken for 0..1, and values outside 0..255 are clipped, each with a warning.

    Args:
        image: a path, a PIL image, or an array `[H, W]`, `[H, W, 1 | 3 | 4]`.
        name: what error messages call the picture when it has no file name.

    Returns:
        `uint8[H, W, 3]`, or `float32[H, W, 3]` in [0, 255] for float arrays.

    Raises:
        FileNotFoundError: if the path names no file.
        PermissionError: if the file may not be read.
        TypeError: if `image` is no kind of picture.
        ValueError: if the file cannot be decoded, or the array has a wrong shape, no
            pixels, values that are not finite, or integers outside 0..255.
    """
    if is_path(image):
        name = repr(os.fsdecode(image))
        image = read_image(image)
    if isinstance(image, Image.Image):
        image = _pil_to_array(image, name)
    if not is_array(image):
        raise TypeError(
            f"Expected {name} to be a path, a PIL image or an array {ARRAY_FORMS}; "
            f"received {type(image).__name__}."
        )
    levels = _to_levels(_check_shape(to_numpy(image), name), name)
    return _to_three_channels(levels)


def _pil_to_array(image: Image.Image, name: str) -> np.ndarray:
    """uint8[H, W, 3] of a PIL image; one channel of 16 bits or floats is left as is."""
    if 0 in image.size:
        raise ValueError(
            f"Expected {name} to have pixels, received a picture of "
            f"{image.width} x {image.height}."
        )
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # 32-bit container; files fill 8 or 16 bits of it.
        levels = np.asarray(image)
        return levels if levels.max() <= 255 else levels.clip(0, 65535).astype("uint16")
    if image.mode == "F":
        return np.asarray(image)
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


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
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return np.round(array / 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise ValueError(
                f"Expected {name} to hold integer levels 0..255, received "
                f"{low}..{high} as {array.dtype}. Scale them, and pass uint8."
            )
        return array.astype(np.uint8)
    levels = array.astype(np.float32)  # Also bfloat16, which numpy calls no float.
    if not np.isfinite(levels).all():
        raise ValueError(
            f"Expected {name} to hold finite values, received NaN or infinity in an "
            f"array of shape {tuple(array.shape)}. Repair or leave out this picture."
        )
    factor = float_range_factor(float(levels.min()), float(levels.max()), name)
    return np.clip(levels * np.float32(factor), 0, 255)


def float_range_factor(low: float, high: float, name: str = "image") -> float:
    """What brings a float picture of these extremes to levels 0..255; may warn."""
    if low < 0 or high > 255:
        warnings.warn(
            f"Expected float values of {name} in 0..255, received {low:g}..{high:g}. "
            "They are clipped to 0..255. Pass the unnormalised picture; if it was "
            "normalised to [-1, 1], pass (image + 1) * 127.5.",
            stacklevel=2,
        )
    elif 0 < high <= 1:
        warnings.warn(
            f"Expected float values of {name} in 0..255, received {low:g}..{high:g}. "
            "They are taken for 0..1 and multiplied by 255. Pass image * 255, or "
            "uint8, to say so yourself.",
            stacklevel=2,
        )
        return 255.0
    return 1.0


def _to_three_channels(levels: np.ndarray) -> np.ndarray:
    """Repeat grey; blend the fourth channel (alpha, of 255) over white."""
    if levels.shape[-1] == 1:
        return np.repeat(levels, 3, axis=-1)
    if levels.shape[-1] == 3:
        return levels
    alpha = levels[..., 3:] / 255
    blend = alpha * levels[..., :3] + (1 - alpha) * 255
    return (np.round(blend) if levels.dtype == np.uint8 else blend).astype(levels.dtype)
