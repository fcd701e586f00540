from __future__ import annotations

from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter

pytestmark = pytest.mark.every_backend

SIZE = (28, 28)


def levels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def of_siglip(image, resample: int = 3) -> np.ndarray:
    """What transformers makes of one picture, channels last."""
    import transformers.models.siglip.image_processing_pil_siglip as siglip

    processor = siglip.SiglipImageProcessorPil(
        size={"height": 28, "width": 28}, resample=resample
    )
    [pixels] = processor(image)["pixel_values"]
    return np.moveaxis(np.asarray(pixels), 0, -1)


@pytest.mark.parametrize("shape", [(60, 90), (11, 300), (28, 28), (5, 7), (500, 9)])
@pytest.mark.parametrize("resample", [2, 3])
def test_same_numbers_as_transformers(shape, resample):
    image = levels(*shape, 3)
    name = {2: "bilinear", 3: "bicubic"}[resample]
    converted = PaliGemma2ImageConverter(SIZE, interpolation=name)(image)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted, of_siglip(image, resample))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK"])
def test_same_numbers_as_transformers_for_modes_of_pil(image_converter, mode):
    image = Image.fromarray(levels(40, 70, 4), "RGBA").convert(mode)
    np.testing.assert_array_equal(image_converter(image), of_siglip(image))


def test_same_numbers_as_transformers_for_rgba_arrays(image_converter):
    image = levels(40, 70, 4)
    np.testing.assert_array_equal(image_converter(image), of_siglip(image))


def test_shapes(tmp_path, image_converter):
    path = tmp_path / "a.png"
    Image.fromarray(levels(10, 20, 3)).save(path)
    wide, tall = levels(10, 20, 3), levels(20, 10)
    cases = [
        (wide, ()),
        (tall, ()),
        (path, ()),
        (np.stack([wide, wide]), (2,)),
        ([wide], (1,)),
        ([wide, tall, Image.fromarray(tall), str(path)], (4,)),
        (np.array([str(path), str(path)]), (2,)),
        ([[wide, tall], [path, path]], (2, 2)),
        (np.stack([wide] * 6).reshape(2, 3, 10, 20, 3), (2, 3)),
        ([np.stack([wide, wide])], (1, 2)),
        ([], (0,)),
        ([[], []], (2, 0)),
    ]
    for image, leading in cases:
        converted = image_converter(image)
        assert converted.shape == (*leading, 28, 28, 3)
        assert converted.dtype == np.float32
        assert np.abs(converted).max(initial=0) <= 1


def test_a_picture_of_a_list_is_the_picture_alone(image_converter):
    images = [levels(10, 20, 3), levels(33, 9, 3)]
    together = image_converter(images)
    np.testing.assert_array_equal(together[1], image_converter(images[1]))


def test_floats_agree_with_integers(image_converter):
    image = levels(90, 50, 3)
    difference = image_converter(image.astype("float32")) - image_converter(image)
    # Pillow rounds integers after each of its two passes.
    assert np.abs(difference).max() <= 2 / 127.5


def smooth(*shape: int) -> np.ndarray:
    """Waves, each channel with its own, as smooth as a photograph."""
    y, x, c = np.meshgrid(*(np.linspace(0, 9, n) for n in shape[-3:]), indexing="ij")
    waves = 127.5 + 127.5 * np.sin(x + c) * np.cos(1.3 * y - c)
    return np.broadcast_to(waves, shape).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(90, 50, 3), (5, 70, 1), (2, 40, 40, 4)])
def test_inside_tf_data(tf, interpolation, antialias, shape):
    converter = PaliGemma2ImageConverter(SIZE, interpolation, antialias)
    for image, most in ((smooth(*shape), 1), (levels(*shape), 12)):
        [inside] = tf.data.Dataset.from_tensors(image).map(converter)
        levels_apart = np.abs(inside.numpy() - converter(image)) * 127.5
        assert levels_apart.max() < most + 0.01
        assert levels_apart.mean() < 0.25


def test_grey_inside_tf_data(tf, image_converter):
    image = smooth(20, 30, 1)[..., 0]
    [inside] = tf.data.Dataset.from_tensors(image).map(image_converter)
    np.testing.assert_allclose(inside, image_converter(image), atol=1.01 / 127.5)


def test_floats_inside_tf_data(tf, image_converter):
    image = levels(2, 3, 40, 50, 3).astype("float32")
    [inside] = tf.data.Dataset.from_tensors(image).map(image_converter)
    assert inside.shape == (2, 3, 28, 28, 3)
    np.testing.assert_allclose(inside, image_converter(image), atol=2e-5)
    with pytest.warns(UserWarning, match=r"taken for 0\.\.1"):
        [scaled] = tf.data.Dataset.from_tensors(image / 255).map(image_converter)
    np.testing.assert_allclose(scaled, inside, atol=1e-5)
    image[1, 2, 3, 4, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite"):
        list(tf.data.Dataset.from_tensors(image).map(image_converter))


@pytest.mark.parametrize("shape", [(), (3,), (1, 3)])
def test_files_inside_tf_data(tf, tmp_path, image_converter, shape):
    path = tmp_path / "ä.png"
    Image.fromarray(levels(10, 20, 3)).save(path)
    paths = np.full(shape, str(path))
    dataset = tf.data.Dataset.from_tensors(paths).map(image_converter)
    assert dataset.element_spec.shape == (*shape, 28, 28, 3)
    [inside] = dataset
    np.testing.assert_array_equal(inside, image_converter(paths))


def test_missing_files_are_found_before_any_is_read(tmp_path, image_converter):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image_converter([[broken, "nowhere.png"]])


def test_the_bad_picture_of_a_batch_is_named(image_converter):
    good, bad = levels(5, 5, 3), levels(5, 5, 2)
    with pytest.raises(ValueError, match="Expected image 1 as an array"):
        image_converter([good, bad])
    with pytest.raises(ValueError, match="Expected image 0 1 as an array"):
        image_converter([[good, bad]])
    with pytest.raises(ValueError, match="the same number of images"):
        image_converter([[good, good], [good]])
    with pytest.raises(ValueError, match="nested deeper"):
        image_converter([[[good]]])


def test_convert_is_a_call_without_the_words_of_keras(image_converter):
    image = levels(10, 20, 3)
    np.testing.assert_array_equal(
        image_converter.convert([image]), image_converter([image])
    )
    with pytest.raises(ValueError, match=r"^Expected image as an array .*\(5,\)\.$"):
        image_converter.convert(np.zeros(5, np.uint8))


def test_config_comes_back():
    converter = PaliGemma2ImageConverter((14, 42), "bilinear", antialias=False)
    config = keras.saving.serialize_keras_object(converter)
    again = keras.saving.deserialize_keras_object(config)
    assert again.image_size == (14, 42)
    image = levels(30, 30, 3)
    np.testing.assert_array_equal(again(image), converter(image))


def test_config_of_a_kerashub_preset():
    """Its class default crops; the model never saw a cropped picture."""
    theirs = keras_hub.layers.ImageConverter((28, 28), scale=1 / 127.5, offset=-1)
    config = theirs.get_config()
    assert config["crop_to_aspect_ratio"] is True
    converter = PaliGemma2ImageConverter.from_config(config)
    assert converter.get_config()["crop_to_aspect_ratio"] is False
    image = np.zeros((28, 280, 3), np.uint8)
    image[:, :28] = 255
    assert (converter(image)[:, 0] > 0.9).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"interpolation": "nearest"},
        {"image_size": (0, 28)},
        {"image_size": None},
        {"image_size": (1, 2, 3)},
        {"scale": 1 / 255},
        {"offset": [0.5, 0.5, 0.5]},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="Expected"):
        PaliGemma2ImageConverter(**arguments)


def test_one_number_is_a_square():
    assert PaliGemma2ImageConverter(448).image_size == (448, 448)
    assert PaliGemma2ImageConverter([224, 224]).image_size == (224, 224)


def test_the_callers_array_is_left_as_it_is(image_converter):
    image = levels(28, 28, 3).astype("float32")
    before = image.copy()
    image_converter(image)
    np.testing.assert_array_equal(image, before)


def test_paths_may_be_relative(tmp_path, monkeypatch, image_converter):
    Image.fromarray(levels(4, 4, 3)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert image_converter(Path("a.png")).shape == (28, 28, 3)
