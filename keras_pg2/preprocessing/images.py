"""Reading pictures: anything a user may hold becomes RGB levels `[H, W, 3]`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from PIL import Image

from keras_pg2.preprocessing.image_decoding import Decoded, decode_image
from keras_pg2.preprocessing.image_levels import ARRAY_FORMS, to_rgb_levels
from keras_pg2.preprocessing.image_sources import (
    decode_source,
    is_source,
    name_in_messages,
)


class ArrayLike(Protocol):
    """An array of NumPy or a tensor of any backend."""

    @property
    def shape(self) -> Any:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Type of the numbers."""


class Readable(Protocol):
    """A file opened for bytes, or what makes a picture file when it is read."""

    def read(self) -> bytes:
        """Return the bytes of a picture file."""


ImageInput: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | ArrayLike | bytes | bytearray | memoryview "
    "| Readable | Mapping[str, Any]"
)
"""A picture; `load_rgb` says what may be one."""


class SizedLevels(NamedTuple):
    """A picture, and how large it is before it is shrunk.

    Attributes:
        levels: `uint8[h, w, 3]`, or `float32[h, w, 3]` in [0, 255].
        width: Pixels of the upright picture.
        height: Pixels of the upright picture.
    """

    levels: np.ndarray
    width: int
    height: int


def is_picture(value: Any) -> bool:
    """Return whether a value is one picture: of a kind that `load_rgb` takes.

    The one place that tells a picture from a list of them, a batch `[B, H, W, 3]`, a
    text array of paths, or something else. It may still be a bad one: a file that is
    not there, a damaged one, an array of a wrong shape.
    """
    if isinstance(value, Image.Image) or is_source(value):
        return True
    if not is_array(value):
        return False
    num_axes = len(value.shape)
    return num_axes == 0 if holds_texts(value) else num_axes in (2, 3)


def is_array(value: Any) -> bool:
    """True for numpy arrays and for tensors of any backend."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def holds_texts(array: Any) -> bool:
    """True for arrays of texts, bytes or objects, as of paths."""
    kind = getattr(array.dtype, "kind", "")
    return kind in ("O", "S", "U", "T") or getattr(array.dtype, "name", "") == "string"


def to_numpy(array: Any) -> np.ndarray:
    """A numpy array of a numpy array or of an eager tensor of any backend.

    Numbers are in the byte order of this machine.
    """
    if hasattr(array, "detach"):  # PyTorch, whose bfloat16 numpy cannot take.
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    if not isinstance(array, np.ndarray) and hasattr(array, "numpy"):
        array = array.numpy()
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def open_image(image: ImageInput, name: str = "image") -> Image.Image:
    """RGB picture, upright, with the pixels that the model is shown.

    Photographs are often stored turned, with a note of how to turn them (EXIF
    orientation). `PIL.Image.open` leaves them so, and swaps their width and height
    for boxes, which are of the upright picture. The result has no such note.

    Args:
        image: a picture, as for `load_rgb`.
        name: what error messages call the picture when it has no file name.

    Returns:
        A new picture of mode "RGB"; float arrays are rounded to whole levels.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, TypeError, ValueError: as
            `load_rgb`.
    """
    return to_picture(load_rgb(image, name))


def to_picture(levels: np.ndarray) -> Image.Image:
    """Return a picture of mode "RGB" of what `load_rgb` gives, in whole levels."""
    if levels.dtype != np.uint8:
        levels = np.round(levels).astype(np.uint8)
    return Image.fromarray(levels)


def load_rgb(
    image: ImageInput, name: str = "image", size: tuple[int, int] | None = None
) -> np.ndarray:
    """RGB levels of one picture.

    **What may be a picture.** A path (`str`, `Path`, or `bytes` as `tf.data` has them);
    an address: `file:`, `data:`, `http:` or `https:`; the bytes of a picture file; a
    file opened for reading bytes, such as `io.BytesIO`, which is read from its start; a
    row `{"bytes": ..., "path": ...}` of the library `datasets`; a PIL image of any
    mode; an array or a tensor of any library, type, byte order and layout.

    Bytes are a path if they have no byte 0, no line break, and no more than 4,096
    bytes. An address of the web is fetched anew each time it is met (60 seconds and
    100 MB at most), so training on addresses is slow: download a data set first.

    - Files and PIL images are turned upright by their EXIF orientation. Transparency
      is laid over white, as transformers 5.23 does; other modes go through
      `convert("RGB")`. 16-bit levels are scaled to 8 bits (`/ 257`), with a warning
      where they fill 12 bits or less.
    - Integer arrays hold levels 0..255 (`uint16`: 0..65535, `bool`: 0 or 1).
    - Float arrays hold levels **0..255**, as in KerasHub. If all colours lie within
      -0.5 and 2 (2 excluded) they are taken for 0..1; values outside the range are
      clipped; each with a warning, as have levels below 16 that are not whole. Alpha
      is taken for 0..1 if it is below 2. See `image_levels.float_range_factor`.
    - A picture file of more than `PIL.Image.MAX_IMAGE_PIXELS` pixels (89 million,
      unless it was set) is refused, or with `size` one of more than twice as many.

    Args:
        image: a picture.
        name: what error messages call the picture when it has no file name.
        size: (height, width) that the caller goes on to stretch it to. A picture of
            more than 67 million pixels is then shrunk by averaging while it is read, to
            no less than three times that; None keeps all pixels.

    Returns:
        `uint8[H, W, 3]`, or `float32[H, W, 3]` in [0, 255] for float arrays.

    Raises:
        FileNotFoundError: if the path names no file.
        PermissionError: if the file may not be read.
        ConnectionError: if an address gives no file.
        TypeError: if `image` is no kind of picture.
        ValueError: if the file cannot be decoded or is too large, or the array has a
            wrong shape, no pixels, masked values, values that are not finite, or
            integers outside 0..255.
    """
    return load_sized(image, name, size).levels


def load_sized(
    image: ImageInput, name: str = "image", size: tuple[int, int] | None = None
) -> SizedLevels:
    """Return what `load_rgb` does, and the size of the picture before it was shrunk."""
    if is_array(image) and holds_texts(image):
        image = _only_text(image)
    if isinstance(image, Image.Image):
        decoded = decode_image(image, name, size)
    elif is_source(image):
        decoded = decode_source(image, name, size)
    elif is_array(image):
        levels = to_rgb_levels(_check_unmasked(to_numpy(image), image, name), name)
        return SizedLevels(levels, levels.shape[1], levels.shape[0])
    else:
        raise TypeError(
            f"Expected {name} to be a path, a PIL image or an array {ARRAY_FORMS}, an "
            "address, the bytes of a picture file, a file opened for bytes, or a dict "
            f"of bytes and path; received {type(image).__name__}."
        )
    levels = to_rgb_levels(_narrowed(decoded), name_in_messages(image, name))
    return SizedLevels(levels, decoded.width, decoded.height)


def _only_text(array: Any) -> Any:
    """The text in an array of one without axes; other arrays as they are."""
    if len(array.shape) > 0:
        return array
    return array.item() if isinstance(array, np.generic | np.ndarray) else array.numpy()


def _check_unmasked(array: np.ndarray, given: Any, name: str) -> np.ndarray:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(
            f"Expected {name} without masked values, received a masked array. Say what "
            "they are: image.filled(255)."
        )
    return array


def _narrowed(decoded: Decoded) -> np.ndarray:
    """uint16 of levels of mode I: 32 bits, of which files fill 8 or 16."""
    array = decoded.array
    if array.dtype == np.int32 and array.max() > 255:
        low, high = array.min(), array.max()
        return array.astype(np.uint16) if low >= 0 and high <= 65535 else array
    return array
