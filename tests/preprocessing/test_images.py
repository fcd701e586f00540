from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.images import load_rgb, open_image


def levels(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


RGB = levels(6, 5, 3)


@pytest.mark.parametrize(
    "kind", [str, lambda path: path, lambda path: str(path).encode()]
)
def test_files(tmp_path, kind):
    path = tmp_path / "picture ä.png"
    Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(load_rgb(kind(path)), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_opaque_modes_as_pillow_converts_them(mode):
    source = Image.fromarray(RGB)
    if mode == "LAB":
        image = Image.frombytes("LAB", (5, 6), RGB.tobytes())
    else:
        image = source.convert(mode)
    loaded = load_rgb(image)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_lies_over_white(mode):
    image = Image.new(mode, (2, 1), 0)
    assert image.convert("RGBA").getpixel((0, 0))[3] == 0
    assert (load_rgb(image) == 255).all()


def test_transparent_colour_of_a_palette(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.gif", transparency=1)
    loaded = load_rgb(tmp_path / "a.gif")
    assert loaded[0, 0].tolist() == [255, 0, 0]
    assert loaded[1, 1].tolist() == [255, 255, 255]


def test_alpha_of_an_array_lies_over_white():
    rgba = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8)
    expected = [[[255, 255, 255], [10, 20, 30], [204, 204, 204]]]
    assert load_rgb(rgba).tolist() == expected
    assert load_rgb(rgba.astype("float32")).tolist() == expected


def test_turned_photographs_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: rotate by 90 degrees clockwise.
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(RGB, k=-1)
    np.testing.assert_array_equal(load_rgb(tmp_path / "a.png"), expected)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(load_rgb(image), expected)


def test_open_image_gives_the_picture_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as stored:
        assert stored.size == (5, 6)
        for picture in (open_image(path), open_image(stored)):
            assert (picture.mode, picture.size) == ("RGB", (6, 5))
            assert 0x0112 not in picture.getexif()
            np.testing.assert_array_equal(np.asarray(picture), np.rot90(RGB, k=-1))


def test_open_image_takes_arrays_and_copies_them():
    rounded = open_image(np.full((2, 3), 99.6, np.float32))
    assert rounded.getcolors() == [(6, (100, 100, 100))]
    array = RGB.copy()
    open_image(array).putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(array, RGB)
    with pytest.raises(TypeError, match="received int"):
        open_image(3)


def test_sixteen_bits(tmp_path):
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    expected = np.array([[0, 100, 255]])[..., None].repeat(3, axis=-1)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_rgb(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(load_rgb(deep), expected)
    in_32_bits = Image.fromarray(deep.astype(np.int32))
    assert in_32_bits.mode == "I"
    np.testing.assert_array_equal(load_rgb(in_32_bits), expected)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1)])
def test_grey_arrays(shape):
    grey = levels(*shape)
    expected = grey.reshape(6, 5, 1).repeat(3, axis=-1)
    np.testing.assert_array_equal(load_rgb(grey), expected)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint32"])
def test_other_integers_hold_levels(dtype):
    loaded = load_rgb(RGB.astype(dtype))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, RGB)


def test_booleans():
    assert load_rgb(np.eye(2, dtype=bool))[..., 0].tolist() == [[255, 0], [0, 255]]


def test_tensors_of_the_backend():
    tensor = keras.ops.convert_to_tensor(RGB)
    np.testing.assert_array_equal(load_rgb(tensor), RGB)
    half = keras.ops.cast(keras.ops.convert_to_tensor([[0.0, 128.0]]), "bfloat16")
    assert load_rgb(half)[0, :, 0].tolist() == [0, 128]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_levels(dtype, recwarn):
    loaded = load_rgb(RGB.astype(dtype))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, RGB)
    assert (load_rgb(np.zeros((2, 2), dtype)) == 0).all()
    assert not recwarn


def test_floats_up_to_one_are_scaled_with_a_warning():
    with pytest.warns(UserWarning, match=r"taken for 0\.\.1 and multiplied by 255"):
        loaded = load_rgb(RGB.astype("float32") / 255)
    np.testing.assert_allclose(loaded, RGB, atol=1e-3)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 300.0)])
def test_floats_out_of_range_are_clipped_with_a_warning(low, high):
    image = np.linspace(low, high, 12, dtype=np.float32).reshape(3, 4)
    with pytest.warns(UserWarning, match=rf"received {low:g}\.\.{high:g}.*clipped"):
        loaded = load_rgb(image)
    np.testing.assert_array_equal(loaded[..., 0], np.clip(image, 0, 255))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"photo to have pixels.*\(0, 5, 3\)"),
        (Image.new("RGB", (0, 3)), "photo to have pixels.*0 x 3"),
        (np.zeros((5, 5, 2), np.uint8), r"photo as an array.*\(5, 5, 2\)"),
        (np.zeros((3, 8, 9), np.uint8), "channels first: transpose"),
        (np.zeros(5, np.uint8), r"received shape \(5,\)"),
        (np.full((2, 2), np.nan), "photo to hold finite values"),
        (np.full((2, 2), np.inf), "finite"),
        (np.full((2, 2), 256), r"levels 0\.\.255, received 256\.\.256 as int64"),
        (np.full((2, 2), -1), "received -1"),
    ],
)
def test_bad_pictures(image, message):
    with pytest.raises(ValueError, match=message):
        load_rgb(image, name="photo")


@pytest.mark.parametrize("image", [None, 3, {"a": 1}])
def test_no_picture(image):
    with pytest.raises(TypeError, match="a path, a PIL image or an array"):
        load_rgb(image)
