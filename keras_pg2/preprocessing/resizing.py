"""Stretching a picture to the model's size and mapping its levels to [-1, 1]."""

from __future__ import annotations

import numpy as np
from PIL import Image

INTERPOLATIONS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}

# Level -> model input, computed step by step as transformers 5.23 does (times 1/255 in
# float64, then minus and over 0.5 in float32), so that uint8 pictures agree to the bit.
LEVELS_TO_INPUT = ((np.arange(256) * (1 / 255)).astype(np.float32) - 0.5) / 0.5
LEVELS_TO_INPUT = LEVELS_TO_INPUT.astype(np.float32)


def stretch(
    image: np.ndarray, size: tuple[int, int], interpolation: str, antialias: bool
) -> np.ndarray:
    """Resize to exactly `size`; the aspect ratio is not kept and nothing is cropped.

    PaliGemma was trained so (arXiv:2407.07726 section 3.1), hence normalised boxes
    need no correction for the picture's own size.

    Args:
        image: `uint8[H, W, 3]`, or `float32[H, W, 3]` in [0, 255].
        size: (height, width) in pixels.
        interpolation: "bicubic" (Keys, a = -0.5) or "bilinear".
        antialias: widen the filter when shrinking. True is Pillow's resize, False
            samples 4 x 4 or 2 x 2 neighbours as `tf.image.resize` does.

    Returns:
        The dtype of `image`, `[h, w, 3]`; uint8 is rounded to whole levels.
    """
    if image.shape[:2] == tuple(size):
        return image
    if not antialias:
        return _stretch_by_samples(image, size, interpolation)
    filter_ = INTERPOLATIONS[interpolation]
    size_xy = (size[1], size[0])
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(size_xy, filter_))
    planes = [Image.fromarray(np.ascontiguousarray(image[..., i])) for i in range(3)]
    channels = [np.asarray(plane.resize(size_xy, filter_)) for plane in planes]
    # The cubic filter overshoots at edges.
    return np.clip(np.stack(channels, axis=-1), 0, 255)


def to_model_input(image: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] of levels in [0, 255]."""
    if image.dtype == np.uint8:
        return LEVELS_TO_INPUT[image]
    return image / np.float32(127.5) - np.float32(1)


def _stretch_by_samples(
    image: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    rows, row_weights = _sample_points(image.shape[0], size[0], interpolation)
    columns, column_weights = _sample_points(image.shape[1], size[1], interpolation)
    # [h, taps, W, 3] -> [h, W, 3] -> [h, w, taps, 3] -> [h, w, 3]
    image_f32 = image[rows].astype(np.float32)
    image_f32 = np.einsum("htwc,ht->hwc", image_f32, row_weights)
    image_f32 = np.einsum("hwtc,wt->hwc", image_f32[:, columns], column_weights)
    image_f32 = np.clip(image_f32, 0, 255)
    if image.dtype == np.uint8:
        return np.floor(image_f32 + 0.5).astype(np.uint8)
    return image_f32


def _sample_points(
    length: int, target: int, interpolation: str
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours int[target, taps] of each output pixel and their float32 weights.

    Pixel centres lie at half integers. Neighbours outside the picture get weight 0 and
    the rest is scaled to sum to 1.
    """
    taps = 4 if interpolation == "bicubic" else 2
    centre = (np.arange(target) + 0.5) * (length / target) - 0.5
    first = np.floor(centre).astype(int) - (taps // 2 - 1)
    points = first[:, None] + np.arange(taps)
    distance = np.abs(points - centre[:, None])
    if interpolation == "bilinear":
        weights = np.maximum(1 - distance, 0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
    weights = np.where((points >= 0) & (points < length), weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return points.clip(0, length - 1), weights.astype(np.float32)
