r"""Encoded pictures to the model's pixels, inside a TensorFlow graph.

Axes: B batch, S pixels of a side, H and W of a picture as it comes.
"""

from __future__ import annotations

from types import ModuleType

from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.resizing import LEVELS_TO_INPUT
from keras_pg2.typing import Tensor

UNREADABLE = (
    "Expected image_bytes as a whole PNG, JPEG, GIF or BMP file. Received: bytes that "
    "cannot be decoded."
)
_HEAD_BYTES = 65536
"""Bytes at the start of a file searched for EXIF orientation and transparency."""
_ORIENTATION = (
    r"(?:Exif\x00\x00|eXIf)\C*?(?:"
    r"\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])\x00|"
    r"\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08]))"
)
"""The tag 0x0112, one short number, in either order of bytes (EXIF 2.3, 4.6.4)."""


def decode_pictures(
    tf: ModuleType, converter: PaliGemma2ImageConverter, image_bytes: Tensor
) -> tuple:
    """Files as they come over the wire to pixels, each row alone.

    Args:
        tf: the module `tensorflow`.
        converter: the model's `PaliGemma2ImageConverter`.
        image_bytes: string[B], of PNG, JPEG, GIF (the first frame) or BMP.

    Returns:
        float32[B, S, S, 3] in [-1, 1], zeros where a file cannot be decoded, and
        bool[B], True where it can.
    """
    size = tuple(converter.image_size)
    count = tf.shape(image_bytes)[0]

    def decode(row: Tensor, data: Tensor) -> tuple:
        levels = apply_orientation(tf, decode_levels(tf, data), data)
        return row, to_pixels(tf, converter, levels)

    # What fails is left out of a dataset, where it would else end the whole call.
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    decoded = files.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    batches = decoded.ignore_errors().batch(tf.maximum(tf.cast(count, tf.int64), 1))
    empty = (tf.zeros([0], tf.int32), tf.zeros([0, *size, 3]))
    rows, pixels = batches.reduce(empty, lambda _, batch: batch)
    indices = rows[:, None]
    pixels = tf.scatter_nd(indices, pixels, [count, *size, 3])
    counts = tf.scatter_nd(indices, tf.ones_like(rows), [count])
    return tf.ensure_shape(pixels, (None, *size, 3)), counts > 0


def decode_levels(tf: ModuleType, data: Tensor) -> Tensor:
    """float32[H, W, 3], levels 0..255 of a file; transparency is laid over white."""

    def jpeg() -> Tensor:
        # Pillow's way of the cosine transform, not TensorFlow's faster one.
        return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")

    def png() -> Tensor:
        # Depth and colour type of the header; of few bits, TensorFlow would make the
        # missing transparency wrong.
        kind = tf.io.decode_raw(tf.strings.substr(data, 25, 1), tf.uint8)[0]
        has_key = tf.strings.regex_full_match(_head(tf, data), r"\C*tRNS\C*")
        has_alpha = has_key | (kind == 4) | (kind == 6)
        return tf.cond(has_alpha, transparent_png, lambda: tf.io.decode_png(data, 3))

    def transparent_png() -> Tensor:
        levels = tf.cast(tf.io.decode_png(data, 4), tf.float32)
        alpha = levels[..., 3:] / 255
        blend = tf.round(alpha * levels[..., :3] + (1 - alpha) * 255)
        return tf.cast(blend, tf.uint8)

    def other() -> Tensor:
        levels = tf.io.decode_image(data, 0, expand_animations=False)
        # One channel (of BMP) is an index into the palette. Of four channels, Pillow
        # does not read the last either.
        is_palette = tf.shape(levels)[-1] == 1
        return tf.cond(
            is_palette,
            lambda: tf.gather(
                _bmp_palette(tf, data), tf.cast(levels[..., 0], tf.int32)
            ),
            lambda: levels[..., :3],
        )

    is_png = tf.strings.substr(data, 0, 4) == b"\x89PNG"
    levels = tf.case([(tf.io.is_jpeg(data), jpeg), (is_png, png)], default=other)
    return tf.ensure_shape(tf.cast(levels, tf.float32), (None, None, 3))


def _bmp_palette(tf: ModuleType, data: Tensor) -> Tensor:
    """uint8[colours, 3], red first, between the headers and the pixels of a file."""

    def integer(offset: int) -> Tensor:
        return tf.io.decode_raw(tf.strings.substr(data, offset, 4), tf.int32)[0]

    start = 14 + integer(14)
    table = tf.strings.substr(data, start, integer(10) - start)
    return tf.reshape(tf.io.decode_raw(table, tf.uint8), [-1, 4])[:, 2::-1]


def _head(tf: ModuleType, data: Tensor) -> Tensor:
    return tf.strings.substr(data, 0, _HEAD_BYTES)


def apply_orientation(tf: ModuleType, levels: Tensor, data: Tensor) -> Tensor:
    """Rotate or mirror float32[H, W, 3] by the EXIF orientation of its file."""
    pattern = rf"\A\C*?{_ORIENTATION}\C*\z"
    found = tf.strings.regex_replace(_head(tf, data), pattern, r"\1\2")
    has_one = tf.strings.length(found) == 1
    # Orientation 1 is upright; the others are rotated or mirrored.
    orientation = tf.io.decode_raw(tf.where(has_one, found, b"\x01"), tf.uint8)[0]
    orientation = tf.cast(orientation, tf.int32)
    is_swapped = orientation >= 5
    levels = tf.cond(
        is_swapped, lambda: tf.transpose(levels, (1, 0, 2)), lambda: levels
    )
    is_flipped = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8]))
    is_mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7]))
    levels = tf.cond(is_flipped, lambda: levels[::-1], lambda: levels)
    return tf.cond(is_mirrored, lambda: levels[:, ::-1], lambda: levels)


def to_pixels(
    tf: ModuleType, converter: PaliGemma2ImageConverter, levels: Tensor
) -> Tensor:
    """float32[H, W, 3] in 0..255 to float32[S, S, 3] in [-1, 1].

    With antialiasing first the width and then the height, rounded after each, as
    Pillow does.
    """
    height, width = converter.image_size

    def resize(levels: Tensor, size: Tensor) -> Tensor:
        levels = tf.image.resize(
            levels, size, converter.interpolation, antialias=converter.antialias
        )
        return tf.floor(tf.clip_by_value(levels, 0, 255) + 0.5)

    if converter.antialias:
        levels = resize(levels, tf.stack([tf.shape(levels)[0], width]))
    levels = resize(levels, (height, width))
    return tf.gather(LEVELS_TO_INPUT, tf.cast(levels, tf.int32))
