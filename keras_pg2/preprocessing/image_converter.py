"""Pictures of any kind to the model's square float images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np

from keras_pg2.files.whole_files import updated
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.image_levels import (
    ARRAY_FORMS,
    float_range_factor,
    sixteen_bit_divisor,
)
from keras_pg2.preprocessing.image_sources import check_source
from keras_pg2.preprocessing.images import (
    holds_texts,
    is_array,
    is_picture,
    load_rgb,
    to_numpy,
)
from keras_pg2.preprocessing.resizing import (
    INTERPOLATIONS,
    LEVELS_TO_INPUT,
    stretch,
    to_model_input,
)
from keras_pg2.start.preset_loading import PresetNames, preset_loading
from keras_pg2.typing import Tensor


@keras.saving.register_keras_serializable(package="keras_pg2")
class PaliGemma2ImageConverter(keras_hub.layers.ImageConverter):
    """Stretch pictures to `image_size` and map their levels to [-1, 1].

    Returns `float32[h, w, 3]` for one picture, `[B, h, w, 3]` for an array of rank 4 or
    a list of pictures (of any sizes), `[B, M, h, w, 3]` for rank 5 or a list of lists.
    A picture is a path, an address, the bytes of a file, a PIL image, an array of
    levels 0..255, ...; see `images.load_rgb` for all of them, modes, transparency,
    number ranges, limits and the errors raised.

    The picture is never cropped or padded: PaliGemma was trained on stretched ones
    (arXiv:2407.07726 section 3.1), and boxes refer to the whole picture. With the
    defaults, uint8 pictures give the very numbers of transformers'
    `SiglipImageProcessorPil`; big_vision's own recipes resize "bilinear".

    Inside `tf.data` arrays are resized by `tf.image.resize` with the same filters.
    Pillow rounds uint8 pictures between the passes over rows and columns, tf.image
    only at the end, so values may differ by one level (2/255), by a few in pure noise;
    floats agree to 2e-5. Files are read and resized by the same code in both places.

    Args:
        image_size: (height, width) in pixels, or one number for a square.
        interpolation: "bicubic" or "bilinear".
        antialias: whether shrinking averages over all the pixels it drops.

    Raises:
        ValueError: for sizes, filters, or a `scale` and `offset` that are not these.
    """

    backbone_cls = PaliGemma2Backbone
    presets = PresetNames()

    def __init__(
        self,
        image_size: int | Sequence[int] = (224, 224),
        interpolation: str = "bicubic",
        antialias: bool = True,
        **kwargs: Any,
    ) -> None:
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Expected interpolation 'bicubic' or 'bilinear', received "
                f"{interpolation!r}."
            )
        _check_scaling(kwargs.pop("scale", None), kwargs.pop("offset", None))
        # Configs saved by KerasHub say crop_to_aspect_ratio=True, its class default,
        # though the model never saw a cropped picture.
        kwargs.pop("crop_to_aspect_ratio", None)
        kwargs.pop("pad_to_aspect_ratio", None)
        super().__init__(
            image_size=_check_size(image_size),
            scale=1 / 127.5,
            offset=-1.0,
            crop_to_aspect_ratio=False,
            pad_to_aspect_ratio=False,
            interpolation=interpolation,
            antialias=bool(antialias),
            **kwargs,
        )

    @classmethod
    def from_preset(cls, preset: str | Path, **kwargs: Any) -> PaliGemma2ImageConverter:
        """Load the image converter of a preset of any format.

        For a released checkpoint nothing is downloaded.

            PaliGemma2ImageConverter.from_preset("pali_gemma2_mix_3b_448")

        Args:
            preset: Name, URI, directory or file, as for
                `PaliGemma2CausalLM.from_preset`.
            **kwargs: Arguments of the converter, instead of the preset's.

        Raises:
            ValueError: if there is no such preset; names near ones.
            OSError: if a file is missing, or cannot be downloaded.
        """
        loading = preset_loading()
        loaded: PaliGemma2ImageConverter = loading.load_part(
            preset,
            partial(super().from_preset, **kwargs),
            partial(loading.load_image_converter, cls, preset, **kwargs),
            needs_vocabulary=False,
        )
        return loaded

    def save_to_preset(self, preset_dir: str | Path) -> None:
        """Write the converter's part of a preset, as KerasHub does.

        Args:
            preset_dir: Directory to write into.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        with updated(Path(preset_dir)) as part:
            super().save_to_preset(str(part))

    def call(self, inputs: Any) -> Tensor:
        """float32 in [-1, 1]; see the class for the shapes taken and given."""
        if self._use_tf_workflow():
            return self._convert_in_graph(inputs)
        return self.convert(inputs)

    def convert(self, inputs: Any) -> np.ndarray:
        """The same as a call outside `tf.data`, with errors as they were raised.

        Keras puts its own text and a print of the whole input around errors of a call.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, TypeError, ValueError:
                as `images.load_rgb`; ValueError too for arrays of too many axes, lists
                nested deeper than two and examples of unequal numbers of images.
        """
        self._check_files(inputs)
        return self._convert(inputs, name="image")

    def _check_files(self, inputs: Any) -> None:
        """Missing files are reported before any picture is decoded."""
        if isinstance(inputs, (list, tuple)):
            for item in inputs:
                self._check_files(item)
        else:
            check_source(inputs)

    def _convert(self, inputs: Any, name: str, depth: int = 0) -> np.ndarray:
        if is_array(inputs) and not is_picture(inputs):
            inputs = to_numpy(inputs)
            if holds_texts(inputs):  # An array of paths.
                return self._convert(inputs.tolist(), name, depth)
            if inputs.ndim > 5 - depth:
                raise ValueError(
                    f"Expected pictures {ARRAY_FORMS}, with a batch and an images-per-"
                    f"example axis at most; received shape {inputs.shape}."
                )
            inputs = list(inputs) if inputs.ndim > 3 else inputs
        if not isinstance(inputs, (list, tuple)):
            image = stretch(
                load_rgb(inputs, name, self.image_size),
                self.image_size,
                self.interpolation,
                self.antialias,
            )
            return to_model_input(image)
        if depth == 2:
            raise ValueError(
                "Expected a picture, a list of pictures, or a list of lists of "
                "pictures; received lists nested deeper."
            )
        names = (f"{name} {i}" for i in range(len(inputs)))
        images = [self._convert(*pair, depth + 1) for pair in zip(inputs, names)]
        return _stack(images, self.image_size)

    def _convert_in_graph(self, inputs: Tensor) -> Tensor:
        import tensorflow as tf

        images = tf.convert_to_tensor(inputs)
        rank = images.shape.rank
        if images.dtype == tf.string:
            converted = tf.numpy_function(
                lambda paths: self._convert(paths, "image"), [images], tf.float32
            )
            return tf.ensure_shape(converted, (*images.shape, *self.image_size, 3))
        if rank is None or not 2 <= rank <= 5:
            raise ValueError(
                f"Expected pictures {ARRAY_FORMS}, alone, in a batch [B, ...] or "
                f"[B, M, ...]; received a tensor of shape {images.shape}."
            )
        if rank == 2:
            images = images[..., None]
        if rank < 5:
            return self._resize_in_graph(images)
        leading = tf.shape(images)[:2]
        flat = tf.reshape(images, tf.concat([[-1], tf.shape(images)[2:]], axis=0))
        flat = self._resize_in_graph(tf.ensure_shape(flat, (None, *images.shape[2:])))
        whole = tf.reshape(flat, tf.concat([leading, [*self.image_size, 3]], axis=0))
        return tf.ensure_shape(whole, (*images.shape[:2], *self.image_size, 3))

    def _resize_in_graph(self, images: Tensor) -> Tensor:
        """float32 [..., h, w, 3] of a symbolic [H, W, C] or [N, H, W, C]."""
        import tensorflow as tf

        is_integer = images.dtype.is_integer
        levels = tf.cast(images, tf.float32)
        if images.dtype == tf.uint16:
            levels = self._scale_16_bits_in_graph(levels)
        if not is_integer:
            levels = self._scale_floats_in_graph(levels)
        channels = images.shape[-1]
        if channels == 1:
            levels = tf.image.grayscale_to_rgb(levels)
        elif channels == 4:
            alpha = levels[..., 3:] / 255
            levels = alpha * levels[..., :3] + (1 - alpha) * 255
            levels = tf.round(levels) if is_integer else levels
        levels = tf.ensure_shape(levels, (*levels.shape[:-1], 3))
        levels = tf.image.resize(
            levels, self.image_size, self.interpolation, antialias=self.antialias
        )
        levels = tf.clip_by_value(levels, 0, 255)
        if not is_integer:
            return levels / 127.5 - 1
        return tf.gather(LEVELS_TO_INPUT, tf.cast(levels + 0.5, tf.int32))

    def _scale_16_bits_in_graph(self, levels: Tensor) -> Tensor:
        import tensorflow as tf

        def check(high: np.ndarray) -> np.ndarray:
            divisors = [sixteen_bit_divisor(int(value)) for value in high.ravel()]
            return np.reshape(np.asarray(divisors, np.float32), high.shape)

        # Not of alpha, the fourth channel.
        high = tf.reduce_max(levels[..., :3], axis=(-3, -2, -1), keepdims=True)
        divisor = tf.ensure_shape(
            tf.numpy_function(check, [high], tf.float32), high.shape
        )
        return tf.round(levels / divisor)

    def _scale_floats_in_graph(self, levels: Tensor) -> Tensor:
        import tensorflow as tf

        def check(
            low: np.ndarray, high: np.ndarray, whole: np.ndarray, finite: np.ndarray
        ) -> np.ndarray:
            if not finite.all():
                raise ValueError("Expected images of finite values, received NaN.")
            pictures = zip(low.ravel(), high.ravel(), whole.ravel())
            factors = [
                float_range_factor(float(a), float(b), bool(c)) for a, b, c in pictures
            ]
            return np.reshape(np.asarray(factors, np.float32), low.shape)

        axes = {"axis": (-3, -2, -1), "keepdims": True}
        colours, alpha = levels[..., :3], levels[..., 3:]
        low = tf.reduce_min(colours, **axes)
        high = tf.reduce_max(colours, **axes)
        whole = tf.reduce_all(colours == tf.floor(colours), **axes)
        finite = tf.reduce_all(tf.math.is_finite(levels), **axes)
        factor = tf.numpy_function(check, [low, high, whole, finite], tf.float32)
        factor = tf.ensure_shape(factor, low.shape)
        if levels.shape[-1] == 4:
            # As `image_levels.alpha_factor` has it.
            own = tf.where(tf.reduce_max(alpha, **axes) < 2, 255.0, 1.0)
            factor = tf.concat([factor, factor, factor, own], axis=-1)
        return tf.clip_by_value(levels * factor, 0, 255)


@contextmanager
def resized_with(
    converter: PaliGemma2ImageConverter | None, antialias: bool | None
) -> Iterator[None]:
    """Resize pictures with or without antialias for a while.

    Args:
        converter: The image converter of a preprocessor.
        antialias: Whether shrinking averages; None for what the converter has.

    Raises:
        ValueError: if there is no converter to tell.
    """
    if antialias is None:
        yield
        return
    if converter is None:
        raise ValueError(
            "Expected a model with an image converter together with antialias, "
            "received one without."
        )
    before = converter.antialias
    converter.antialias = antialias
    try:
        yield
    finally:
        converter.antialias = before


def _stack(images: list[np.ndarray], image_size: tuple[int, int]) -> np.ndarray:
    if not images:
        return np.zeros((0, *image_size, 3), np.float32)
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise ValueError(
            "Expected the same number of images for every example of a batch, "
            f"received converted shapes {shapes}. Batch examples of one kind together."
        )
    return np.stack(images)


def _check_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    try:
        height, width = (int(length) for length in image_size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(
            f"Expected image_size (height, width) in pixels, received {image_size!r}."
        )
    return height, width


def _check_scaling(scale: Any, offset: Any) -> None:
    def is_all(value: Any, expected: float) -> bool:
        values = value if isinstance(value, (list, tuple)) else [value]
        return all(math.isclose(v, expected, rel_tol=1e-6) for v in values)

    if (scale is not None and not is_all(scale, 1 / 127.5)) or (
        offset is not None and not is_all(offset, -1.0)
    ):
        raise ValueError(
            "Expected scale 1/127.5 and offset -1 (levels 0..255 to [-1, 1], what "
            f"SigLIP was trained on); received scale={scale}, offset={offset}. "
            "Leave both out."
        )
