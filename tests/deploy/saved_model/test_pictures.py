"""Pictures that a SavedModel reads, against Pillow and the preprocessor."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_pg2 import PaliGemma2ImageConverter

BACKEND = keras.backend.backend()
if BACKEND == "torch":
    pytest.skip("PyTorch writes no SavedModel", allow_module_level=True)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def picture_files() -> dict[str, bytes]:
    """Smooth pictures, wide and small, of every kind that is read."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype("uint8"))
    wide = coarse.resize((61, 43), Image.Resampling.BICUBIC)
    clear = wide.convert("RGBA")
    clear.putalpha(wide.getchannel(0))
    turned = {}
    for orientation in (2, 3, 4, 5, 6, 7, 8):
        # Taller than wide where it is turned by a quarter.
        stored = wide.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "camera", orientation
        source = stored if orientation >= 5 else wide
        turned[f"turned {orientation}"] = encode(source, "JPEG", exif=exif)
    return {
        "own size": encode(wide.resize((28, 28))),
        "smaller": encode(wide.resize((20, 11))),
        "png": encode(wide),
        "png grey": encode(wide.convert("L")),
        "png black and white": encode(wide.convert("1")),
        "png palette": encode(wide.quantize(4)),
        "png transparent": encode(clear),
        "jpeg": encode(wide, "JPEG"),
        "jpeg grey": encode(wide.convert("L"), "JPEG"),
        "gif": encode(wide, "GIF"),
        "bmp": encode(wide, "BMP"),
        "bmp palette": encode(wide.convert("P"), "BMP"),
        **turned,
    }


@pytest.mark.parametrize(
    ("interpolation", "antialias"), [("bicubic", True), ("bilinear", False)]
)
def test_pictures_are_within_a_level_of_the_preprocessors(interpolation, antialias):
    from keras_pg2.deploy.saved_model.pictures import decode_pictures

    converter = PaliGemma2ImageConverter(28, interpolation, antialias)
    files = picture_files()
    pixels, is_picture = decode_pictures(
        tf, converter, tf.constant(list(files.values()))
    )
    assert is_picture.numpy().all()
    for name, file, found in zip(files, files.values(), pixels.numpy(), strict=True):
        wanted = converter.convert(Image.open(io.BytesIO(file)))
        levels = np.round(np.abs(found - wanted) * 127.5)
        assert levels.max() <= (0 if name == "own size" else 1), name
        assert (levels > 0).mean() < 0.03, name


def test_no_rows_give_no_pictures():
    from keras_pg2.deploy.saved_model.pictures import decode_pictures

    converter = PaliGemma2ImageConverter(28)
    pixels, is_picture = decode_pictures(tf, converter, tf.constant([], tf.string))
    assert pixels.shape == (0, 28, 28, 3)
    assert is_picture.shape == (0,)
