from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.preprocessing.resizing import stretch, to_model_input

SIZES = [(60, 90), (11, 300), (28, 28), (5, 7), (1, 1), (101, 28)]


def picture(height: int, width: int, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (height, width, 3)).astype(dtype)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_floats_as_tf_image_resizes_them(tf, height, width, interpolation, antialias):
    image = picture(height, width, "float32")
    ours = stretch(image, (28, 14), interpolation, antialias)
    theirs = tf.image.resize(image, (28, 14), interpolation, antialias=antialias)
    # tf.image looks cubic weights up in a table of 1024 steps when not antialiased.
    tolerance = 0.5 if interpolation == "bicubic" and not antialias else 5e-3
    np.testing.assert_allclose(ours, np.clip(theirs, 0, 255), atol=tolerance)


def test_samples_by_hand():
    image = np.array([0, 100, 200, 40], np.float32).reshape(1, 4, 1).repeat(3, axis=2)
    # Centres of the two outputs lie at 0.5 and 2.5 between pixels.
    halves = stretch(image, (1, 2), "bilinear", antialias=False)
    assert halves[0, :, 0].tolist() == [50, 120]
    # Keys' kernel at distances 1.5, 0.5, 0.5, 1.5: -1/16, 9/16, 9/16, -1/16. The
    # neighbour outside the picture falls away and the rest is divided by 17/16.
    cubic = stretch(image, (1, 2), "bicubic", antialias=False)
    expected = [(900 - 200) / 17, (9 * 240 - 100) / 17]
    np.testing.assert_allclose(cubic[0, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_is_cropped(interpolation, antialias, dtype):
    image = np.full((40, 200, 3), 100, dtype)
    image[:, :20] = 250
    image[-8:] = 10
    small = stretch(image, (20, 20), interpolation, antialias)
    assert small.dtype == image.dtype
    assert small.shape == (20, 20, 3)
    # Two of 20 columns and four of 20 rows; the cubic filter overshoots next to edges.
    np.testing.assert_allclose(small[:13, 0], 250, atol=3)
    np.testing.assert_allclose(small[-1], 10, atol=20)
    np.testing.assert_allclose(small[:13, 5:], 100, atol=1)


def test_the_same_size_is_left_as_it_is():
    image = picture(28, 28)
    assert stretch(image, (28, 28), "bicubic", antialias=True) is image


def test_levels_to_model_input():
    levels = np.array([[[0, 51, 255]]], np.uint8)
    values = to_model_input(levels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[[-1, -0.6, 1]]], atol=1e-6)
    floats = to_model_input(levels.astype(np.float32))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, values, atol=1e-6)
