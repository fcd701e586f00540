"""Decoding by Pillow: picture files of any kind and PIL images of any mode to arrays.

Memory: a picture is decoded once, in the mode its file has, and goes into its array in
strips. A very large one of which only the model's size is needed is shrunk on the way.

Axes: H and W of the upright picture, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, NoReturn

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

LARGE_PIXELS = 2**26
"""Pixels above which a picture is shrunk while it is decoded."""
REDUCING_GAP = 3
"""A shrunk picture stays this many times as wide and as high as what is needed, at
which Pillow's `Image.resize` calls the result of its `reducing_gap` as good as that of
the whole picture."""
_STRIP_PIXELS = 2**21
_FLIPPED = (3, 4, 7, 8)
_MIRRORED = (2, 3, 6, 7)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIF_ADVICE = (
    "It is a HEIC picture, as iPhones take them. Run: pip install pillow-heif. Or save "
    "it as JPEG."
)


class Decoded(NamedTuple):
    """What Pillow made of a picture.

    Attributes:
        array: uint8[h, w, 3], or of one channel uint16, int32 or float32 [h, w];
            upright; h and w are H and W unless it was shrunk.
        width: W.
        height: H.
    """

    array: np.ndarray
    width: int
    height: int


def open_encoded(file: BinaryIO, name: str) -> Image.Image:
    """Read the header of a picture file.

    A file object and not its path, which Pillow maps to memory: so it reads turned TIFF
    wrong, and a file that is changed meanwhile ends the process.

    Raises:
        ValueError: if Pillow cannot read it, or it has too many pixels.
    """
    try:
        return _open(file)
    except (PermissionError, Warning):
        raise
    except MemoryError as error:
        raise ValueError(_too_much_memory(name)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(name, str(error))) from error
    except Image.UnidentifiedImageError as error:
        head = _head(file)
        if is_heif(head):
            raise ValueError(
                f"Expected an image that Pillow can read, received {name}. "
                f"{HEIF_ADVICE}"
            ) from error
        begin = f"it begins with {head[:12]!r}"
        _fail_to_decode(name, _num_bytes(file), begin, error)
    except Exception as error:  # A decoder may raise anything about a damaged file.
        _fail_to_decode(name, _num_bytes(file), str(error), error)


def _open(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except Image.UnidentifiedImageError:
        if not (is_heif(_head(file)) and register_heif()):
            raise
        return Image.open(file)


def decode_encoded(file: BinaryIO, name: str, size: tuple[int, int] | None) -> Decoded:
    """Decode a picture file; as `decode_image`.

    Args:
        file: The file.
        name: What errors call it.
        size: (height, width) that the caller goes on to stretch it to, or None if the
            caller needs it whole.

    Raises:
        ValueError: if Pillow cannot decode it, or it has too many pixels.
    """
    with open_encoded(file, name) as image:
        limit = Image.MAX_IMAGE_PIXELS
        pixels = image.width * image.height
        if size is None and limit is not None and pixels > limit:
            limits = f"{pixels:,} pixels exceed PIL.Image.MAX_IMAGE_PIXELS = {limit:,}"
            raise ValueError(_too_large(name, limits))
        num_bytes = _num_bytes(file)
        is_jpeg = isinstance(image, JpegImageFile)
        if size is None or pixels <= LARGE_PIXELS or not is_jpeg:
            load(image, name, num_bytes)
            return decode_image(image, name, size)
        # Its decoder shrinks it.
        width, height = upright_size(image)
        smallest = (REDUCING_GAP * size[1], REDUCING_GAP * size[0])
        drafted = image.draft(None, _upright(smallest, orientation_of(image)))
        load(image, name, num_bytes)
        extent = image.size if drafted is None else drafted[1][2:]
        decoded = decode_image(image, name, size, extent)
        return decoded._replace(width=width, height=height)


def load(image: Image.Image, name: str, num_bytes: int | None = None) -> None:
    """Decode all pixels of an image that Pillow has opened.

    Raises:
        ValueError: if that fails; names the picture.
    """
    with _decoding(image, name, num_bytes):
        image.load()


@contextmanager
def _decoding(
    image: Image.Image, name: str, num_bytes: int | None = None
) -> Iterator[None]:
    """Name the picture in whatever is raised."""
    try:
        yield
    except Warning:
        raise
    except MemoryError as error:
        size = f" of {image.width} x {image.height} pixels"
        raise ValueError(_too_much_memory(name, size)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(name, str(error))) from error
    except Exception as error:  # As when it is opened.
        _fail_to_decode(name, num_bytes, str(error), error)


def decode_image(
    image: Image.Image,
    name: str,
    size: tuple[int, int] | None,
    extent: tuple[float, float] | None = None,
) -> Decoded:
    """Turn a PIL image of any mode into an array, upright and without transparency.

    Args:
        image: The image, which is left as it is.
        name: What errors call it.
        size: As for `decode_encoded`.
        extent: Columns and lines of the image that the picture fills: the last ones of
            a shrunk one hold what was left over of it. None for all.

    Raises:
        ValueError: if it has no pixels, or they cannot be decoded.
    """
    if 0 in image.size:
        raise ValueError(
            f"Expected {name} to have pixels, received a picture of "
            f"{image.width} x {image.height}."
        )
    load(image, name)
    orientation = orientation_of(image)
    width, height = _upright(image.size, orientation)
    factors = (1, 1)
    if size is not None and width * height > LARGE_PIXELS:
        needed_width, needed_height = _upright((size[1], size[0]), orientation)
        factors = (
            max(1, image.width // (REDUCING_GAP * needed_width)),
            max(1, image.height // (REDUCING_GAP * needed_height)),
        )
    with _decoding(image, name):
        array = _join(_strips(image, factors), -(-image.height // factors[1]))
    extent = extent or image.size
    array = _cut(array, extent[0] / factors[0], extent[1] / factors[1])
    if image.mode.startswith("I;16"):
        array = array.astype(np.uint16)
    return Decoded(_turn(array, orientation), width, height)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8; 1 (upright) if there is none to be read.

    Except of JPEG, it is known once the picture is decoded: PNG may have it at the end,
    and Pillow turns TIFF by itself.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged notes; all viewers show such a picture as it is stored.
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) as a picture is shown, of its header alone."""
    if image.format == "TIFF":  # Whose size Pillow gives so.
        return image.size
    return _upright(image.size, orientation_of(image))


def is_heif(head: bytes) -> bool:
    """Return whether a file that begins so is a HEIC or HEIF picture."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def register_heif() -> bool:
    """Have Pillow read HEIC by pillow-heif; return whether that is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _strips(image: Image.Image, factors: tuple[int, int]) -> Iterator[np.ndarray]:
    """Levels of some lines after the other, means of blocks of `factors` pixels."""
    lines = max(1, _STRIP_PIXELS // image.width // factors[1]) * factors[1]
    for top in range(0, image.height, lines):
        box = (0, top, image.width, min(top + lines, image.height))
        strip = _without_transparency(image.crop(box))
        if factors != (1, 1):
            strip = strip.reduce(factors)
        yield np.asarray(strip)


def _join(strips: Iterator[np.ndarray], height: int) -> np.ndarray:
    """The strips below each other; never held twice."""
    first = next(strips)
    whole = np.empty((height, *first.shape[1:]), first.dtype)
    whole[: len(first)] = first
    top = len(first)
    for strip in strips:
        whole[top : top + len(strip)] = strip
        top += len(strip)
    return whole


def _cut(array: np.ndarray, width: float, height: float) -> np.ndarray:
    """Stretch that part of an array over all of it, by less than a pixel."""
    if array.shape[1::-1] == (width, height):
        return array
    box = (0.0, 0.0, width, height)
    size, bilinear = array.shape[1::-1], Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(array).resize(size, bilinear, box))


def _without_transparency(image: Image.Image) -> Image.Image:
    """An image of mode RGB, I or F, with white where it was transparent."""
    key = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        if image.mode.startswith("I;16"):
            image = image.convert("I")
        if image.mode == "I" and isinstance(key, int):
            levels = np.asarray(image)
            image = Image.fromarray(np.where(levels == key, np.int32(65535), levels))
        return image
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if "A" in image.getbands() or key is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Swap (width, height) of a picture that is stored turned by a quarter."""
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate or mirror [h, w] or [h, w, 3] by the EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in _FLIPPED:
        array = array[::-1]
    if orientation in _MIRRORED:
        array = array[:, ::-1]
    return array


def _too_large(name: str, limits: str) -> str:
    return (
        f"Expected a picture within Pillow's limit of pixels, but {name} is too large: "
        f"{limits.removesuffix('.')}. Make it smaller; or, if you trust the file and "
        "have the memory, raise the limit: PIL.Image.MAX_IMAGE_PIXELS = 400_000_000 "
        "(a picture that is only shown to the model may have twice as many)."
    )


def _too_much_memory(name: str, size: str = "") -> str:
    return (
        f"Expected a picture that fits into memory, but {name}{size} does not: it is "
        "damaged or too large. Open it in a viewer, and save it smaller."
    )


def _fail_to_decode(
    name: str, num_bytes: int | None, reason: str, error: Exception
) -> NoReturn:
    length = "" if num_bytes is None else f" ({num_bytes} bytes)"
    raise ValueError(
        f"Expected an image that Pillow can read, but {name}{length} is not one or is "
        f"damaged: {reason}. Open it in a viewer, and save it again as PNG or JPEG."
    ) from error


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(16)


def _num_bytes(file: BinaryIO) -> int:
    position = file.tell()
    count = file.seek(0, 2)
    file.seek(position)
    return count
