"""Numbers as levels: ranges of floats, 16 bits, byte order; also in a graph."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.image_levels import float_range_factor
from keras_pg2.preprocessing.images import load_rgb

RGB = np.random.default_rng(0).integers(0, 256, (16, 12, 3)).astype(np.uint8)
UNIT = (RGB / 255).astype(np.float32)


def with_value(value: float) -> np.ndarray:
    picture = UNIT.copy()
    picture[3, 4, 1] = value
    return picture


def overshot() -> np.ndarray:
    """Enlarged by Pillow's cubic filter, which goes beyond both ends at edges."""
    step = np.zeros((8, 8), np.float32)
    step[:, 4:] = 1
    large = np.asarray(Image.fromarray(step).resize((32, 32), Image.Resampling.BICUBIC))
    assert large.min() < 0
    assert large.max() > 1
    return large


def noisy() -> np.ndarray:
    """A bright page with noise: half of it is above 1."""
    noise = np.random.default_rng(1).normal(0, 0.1, (32, 32))
    page = np.float32(1) + noise.astype(np.float32)
    page[:4] = noise[:4]
    assert (page > 1).mean() > 0.4
    return page


@pytest.mark.parametrize(
    "picture",
    [with_value(1 + 1e-6), with_value(1.9), with_value(-0.3), overshot(), noisy()],
    ids=["a hair above", "one outlier", "below", "cubic", "noise"],
)
def test_floats_of_0_to_1_may_go_a_little_beyond(picture):
    with pytest.warns(UserWarning, match=r"taken for 0\.\.1.*outside 0\.\.1 is clip"):
        levels = load_rgb(picture, "photo")
    grey = picture if picture.ndim == 3 else picture[..., None]
    expected = np.broadcast_to(np.clip(grey.astype(float), 0, 1) * 255, levels.shape)
    np.testing.assert_allclose(levels, expected, atol=1e-3)


@pytest.mark.parametrize("top", [2, 3, 15, 16.5])
def test_dark_pictures_of_whole_levels_stay_dark(top, recwarn):
    """As a black frame of a film, made floats of."""
    dark = np.zeros((6, 5), np.float32)
    dark[2, 2] = top
    assert load_rgb(dark).max() == np.float32(top)
    assert not recwarn


@pytest.mark.parametrize("top", [2.25, 7.5, 15.9])
def test_a_nearly_black_picture_is_told(top):
    """As of a scene with lights far above 1 (HDR)."""
    with pytest.warns(UserWarning, match=rf"of lamp in .*0\.\.{top}.*nearly black"):
        levels = load_rgb(with_value(top), "lamp")
    np.testing.assert_array_equal(levels, with_value(top))


@pytest.mark.parametrize("top", [2, 3, 15])
def test_the_brightest_value_alone_does_not_make_levels(top):
    """As of 0..1 with brighter ones that were clipped at a whole number."""
    picture = np.clip(UNIT * 2 * top, 0, top)
    with pytest.warns(UserWarning, match=rf"of lamp in .*0\.\.{top}\. .*nearly black"):
        levels = load_rgb(picture, "lamp")
    np.testing.assert_array_equal(levels, picture)


RAMP = np.linspace(0, 1, 12)[:, None]


@pytest.mark.filterwarnings("ignore:Expected float values")
@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("alpha_scale", [1, 255])
def test_alpha_has_a_range_of_its_own(scale, alpha_scale):
    alpha = np.broadcast_to(RAMP, (16, 12, 1))
    picture = np.concatenate([UNIT * scale, alpha * alpha_scale], -1)
    levels = load_rgb(picture.astype(np.float32))
    np.testing.assert_allclose(levels, alpha * RGB + (1 - alpha) * 255, atol=1e-3)


def test_alpha_that_is_not_finite_is_refused():
    picture = np.dstack([UNIT, np.full((16, 12), np.nan, np.float32)])
    with pytest.raises(ValueError, match="finite"):
        load_rgb(picture)


@pytest.mark.parametrize(
    ("low", "high", "factor", "message"),
    [
        (0, 0, 1, None),
        (0, 1, 255, "taken for"),
        (-0.5, 1.5, 255, "taken for"),
        (-0.51, 1.5, 1, "clipped"),
        (-1, 1, 1, r"\(image \+ 1\) \* 127\.5"),
        (-0.1, 0.9, 255, r"\(image \+ 1\) \* 127\.5"),
        (0, 1.999, 255, "taken for"),
        (0, 2, 1, None),
        (-0.2, -0.1, 1, "clipped"),
        (0, 255, 1, None),
        (-2, 255, 1, "clipped"),
        (0, 260, 1, "clipped"),
    ],
)
def test_the_rule(low, high, factor, message):
    if message is None:
        assert float_range_factor(float(low), float(high), True) == factor
        return
    with pytest.warns(UserWarning, match=message):
        assert float_range_factor(float(low), float(high), True) == factor


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("kind", ["array", "big-endian", "I;16", "I;16B", "I", "file"])
def test_16_bits_of_which_few_are_used_are_told(tmp_path, bits, kind):
    top = 2**bits - 1
    deep = np.linspace(0, top, 48).astype(np.uint16).reshape(6, 8)
    if kind == "I" and bits == 8:
        pytest.skip("Mode I is a container of 8 bits too.")
    picture = {
        "array": lambda: deep,
        "big-endian": lambda: deep.astype(">u2"),
        "I;16": lambda: Image.frombytes("I;16", (8, 6), deep.tobytes()),
        "I;16B": lambda: Image.frombytes("I;16B", (8, 6), deep.astype(">u2").tobytes()),
        "I": lambda: Image.fromarray(deep.astype(np.int32)),
        "file": lambda: tmp_path / "x ray.png",
    }[kind]()
    Image.frombytes("I;16", (8, 6), deep.tobytes()).save(tmp_path / "x ray.png")
    shifted = "image" if bits == 8 else rf"\(image >> {bits - 8}\)"
    shift = rf"{shifted}\.astype"
    with pytest.warns(UserWarning, match=rf"0\.\.{top}\. .*{bits} bits, pass {shift}"):
        levels = load_rgb(picture)
    expected = np.round(deep / 257)[..., None].repeat(3, -1)
    np.testing.assert_array_equal(levels, expected)
    # What it says to do brings the picture to light.
    assert load_rgb((deep >> (bits - 8)).astype("uint8")).max() == 255


def test_16_bits_of_alpha_do_not_count():
    deep = np.full((4, 4, 4), 4095, np.uint16)
    deep[..., 3] = 65535
    with pytest.warns(UserWarning, match="12 bits"):
        load_rgb(deep)


def test_16_bits_of_which_most_are_used_are_not_told(recwarn):
    deep = np.linspace(0, 4096, 48).astype(np.uint16).reshape(6, 8)
    load_rgb(deep)
    load_rgb(np.zeros((3, 3), np.uint16))
    assert not recwarn


def test_16_bits_with_a_transparent_level(tmp_path):
    """A grey PNG names one level that is not there (tRNS)."""
    deep = np.array([[500, 30000, 65535]], np.uint16)
    image = Image.frombytes("I;16", (3, 1), deep.tobytes())
    image.save(tmp_path / "a.png", transparency=500)
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.info["transparency"] == 500
    assert load_rgb(tmp_path / "a.png")[0, :, 0].tolist() == [255, 117, 255]


@pytest.mark.parametrize("low", [0, -1])
def test_more_than_16_bits_are_refused(low):
    image = Image.fromarray(np.array([[low, 70000]], np.int32))
    with pytest.raises(ValueError, match=rf"{low}\.\.70000 as int32. Scale them"):
        load_rgb(image)


@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "u8", "f2", "f4", "f8"])
def test_both_orders_of_bytes_are_the_same_numbers(kind):
    """As from FITS, DICOM and big-endian TIFF."""
    values = RGB.astype(kind) * (257 if kind == "u2" else 1)
    little, big = values.astype(f"<{kind}"), values.astype(f">{kind}")
    np.testing.assert_array_equal(load_rgb(big), load_rgb(little))
    np.testing.assert_array_equal(load_rgb(big), RGB)


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(complex),
        RGB.astype(object),
        np.zeros((4, 4, 3), "M8[s]"),
        np.zeros((4, 4), [("a", "f4")]),
    ],
)
def test_what_holds_no_levels_is_refused(array):
    with pytest.raises(TypeError, match="photo to hold integers or floats, received"):
        load_rgb(array, "photo")


def test_floats_beyond_float32_are_not_finite():
    with pytest.raises(ValueError, match="finite"):
        load_rgb(np.full((2, 2), 1e300))


def test_masked_arrays_say_what_is_masked():
    """As rasterio gives them."""
    masked = np.ma.masked_equal(RGB, RGB[0, 0, 0])
    with pytest.raises(ValueError, match=r"image\.filled\(255\)"):
        load_rgb(masked)
    np.testing.assert_array_equal(load_rgb(np.ma.array(RGB)), RGB)
    np.testing.assert_array_equal(
        load_rgb(masked.filled(255)), np.where(masked.mask, 255, RGB)
    )


def test_other_classes_of_arrays(tmp_path):
    grey = RGB[..., 0]
    expected = grey[..., None].repeat(3, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against its own class.
        np.testing.assert_array_equal(load_rgb(np.matrix(grey)), expected)
    np.save(tmp_path / "a.npy", RGB)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_array_equal(load_rgb(mapped), RGB)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float16", "bfloat16"])
def test_tensors_of_the_backend(dtype):
    values = RGB % 2 if dtype == "bool" else RGB
    tensor = keras.ops.convert_to_tensor(values.astype(np.float32))
    tensor = keras.ops.cast(tensor, dtype)
    # 8 bits are exact in all of them.
    np.testing.assert_array_equal(load_rgb(tensor), values * [1, 255][dtype == "bool"])


@pytest.mark.parametrize(
    "picture",
    [
        with_value(1 + 1e-6),
        with_value(-0.3),
        with_value(-1.0),
        with_value(7.5),
        with_value(300.0),
        np.clip(UNIT * 4, 0, 3),
        np.dstack([RGB, UNIT[..., 0]]),
        np.dstack([UNIT, RGB[..., 0]]),
        overshot()[..., None],
        noisy()[..., None],
        np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8, 1),
        np.linspace(0, 65535, 192).astype(np.uint16).reshape(6, 8, 4),
        UNIT.astype(np.float64),
    ],
)
def test_the_same_rule_inside_tf_data(tf, picture):
    converter = PaliGemma2ImageConverter((28, 28))
    pictures = np.stack([picture, picture[::-1]])  # Each by its own range.
    with warnings.catch_warnings(record=True) as outside:
        warnings.simplefilter("always")
        expected = converter(pictures)
    with warnings.catch_warnings(record=True) as inside:
        warnings.simplefilter("always")
        [result] = tf.data.Dataset.from_tensors(pictures).map(converter)
    most = 1.01 / 127.5 if picture.dtype == np.uint16 else 2e-5
    np.testing.assert_allclose(result, expected, atol=most)
    own = [
        [str(w.message) for w in caught if str(w.message).startswith("Expected")]
        for caught in (outside, inside)
    ]
    unnamed = [message.replace("image 0", "image") for message in own[0]]
    assert sorted(own[1]) == sorted(m.replace("image 1", "image") for m in unnamed)
