"""`PaliGemma2ImageConverter` beside the conventions of KerasHub's converters."""

from __future__ import annotations

import keras_hub
import numpy as np
import pytest

from keras_pg2 import PaliGemma2Backbone, PaliGemma2ImageConverter
from tests.support.keras_hub_harness import (
    assert_equal,
    check_config,
    check_name,
    check_pipelines,
    forms,
)

LEVEL = 2 / 255


@pytest.fixture(scope="module")
def converter() -> PaliGemma2ImageConverter:
    return PaliGemma2ImageConverter(image_size=(28, 28))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8[3, 40, 60, 3], smooth, as are photographs."""
    rows, columns = np.mgrid[0:40, 0:60]
    waves = [np.sin(rows / (5 + i)) * np.cos(columns / (7 + i)) for i in range(9)]
    levels = 127.5 + 127.5 * np.stack(waves, axis=-1)
    return levels.astype(np.uint8).reshape(40, 60, 3, 3).transpose(2, 0, 1, 3)


def test_config(converter):
    check_config(converter)


def test_name(converter):
    check_name(converter)


def test_classes_name_each_other():
    assert PaliGemma2ImageConverter.backbone_cls is PaliGemma2Backbone


@pytest.mark.parametrize("form", forms("tf.data", "grain"))
def test_pipelines(converter, pictures, form):
    check_pipelines(converter, pictures, form, LEVEL * 1.01)


@pytest.mark.parametrize("form", forms("tf.data", "grain"))
def test_pipelines_of_floats(converter, pictures, form):
    check_pipelines(converter, pictures.astype(np.float32), form, 1e-4)


def test_image_size_is_height_and_width(converter):
    assert converter.image_size == (28, 28)
    wide = PaliGemma2ImageConverter(image_size=(14, 28))
    assert np.shape(wide(np.zeros((5, 5, 3), np.uint8))) == (14, 28, 3)


def test_black_and_white(converter):
    white = np.full((1, 40, 60, 3), 255, np.uint8)
    assert_equal(converter(white), np.ones((1, 28, 28, 3), np.float32))
    assert_equal(converter(white * 0), -np.ones((1, 28, 28, 3), np.float32))


@pytest.mark.parametrize(
    "cls", [PaliGemma2ImageConverter, keras_hub.layers.ImageConverter]
)
def test_preset(converter, pictures, preset, cls):
    loaded = cls.from_preset(preset)
    assert type(loaded) is PaliGemma2ImageConverter
    assert_equal(loaded(pictures), converter(pictures))


def test_preset_by_name():
    loaded = PaliGemma2ImageConverter.from_preset("pali_gemma2_nano")
    assert loaded.image_size == (84, 84)
    with pytest.raises(ValueError, match="clowntown"):
        PaliGemma2ImageConverter.from_preset("clowntown")
