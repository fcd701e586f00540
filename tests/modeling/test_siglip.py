from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling import PaliGemma2Backbone, SigLIPEncoder
from tests.support.tiny_networks import VISION_ENCODER


def random_images(*shape: int) -> np.ndarray:
    images = np.random.default_rng(0).uniform(-1, 1, (*shape, 28, 28, 3))
    return images.astype("float32")


def test_images_do_not_see_each_other(backbone: PaliGemma2Backbone) -> None:
    images = random_images(2, 3)
    together = ops.convert_to_numpy(backbone.vision_encoder(images))
    assert together.shape == (2, 3 * 4, 16)
    for row in range(2):
        for m in range(3):
            alone = backbone.vision_encoder(images[row : row + 1, m : m + 1])
            np.testing.assert_allclose(
                together[row, 4 * m : 4 * m + 4],
                ops.convert_to_numpy(alone)[0],
                atol=1e-5,
            )


def test_no_images(backbone: PaliGemma2Backbone) -> None:
    assert tuple(backbone.vision_encoder(random_images(2, 0)).shape) == (2, 0, 16)


def test_patches_are_read_row_by_row(backbone: PaliGemma2Backbone) -> None:
    encoder = backbone.vision_encoder
    images = random_images(1)
    patch = images[0, :14, 14:]  # the second token: top right
    kernel = ops.convert_to_numpy(encoder.patch_embedding.kernel)
    bias = ops.convert_to_numpy(encoder.patch_embedding.bias)
    expected = np.tensordot(patch, kernel, axes=3) + bias
    grid = ops.convert_to_numpy(encoder.patch_embedding(images))
    np.testing.assert_allclose(grid.reshape(4, 16)[1], expected, atol=1e-4)


def test_config_rebuilds_the_layer() -> None:
    encoder = SigLIPEncoder(**VISION_ENCODER)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(encoder)
    )
    assert again.get_config() == encoder.get_config()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 30}, r"multiple of patch_size \(14\). Received: 30"),
        ({"num_heads": 3}, r"multiple of num_heads \(3\). Received: 16"),
        ({"num_heads": 0}, "Expected num_heads as a whole number"),
        ({"num_layers": 2**31}, "Expected num_layers as a whole number"),
        ({"image_size": 28.0}, "Expected image_size as a whole number"),
    ],
)
def test_sizes_that_do_not_divide(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SigLIPEncoder(**{**VISION_ENCODER, **wrong})
