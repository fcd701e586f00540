"""What Keras makes of the graphs of task and backbone: heads, copies, archives."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

ONE_PICTURE = random_inputs([5, 3], num_responses=1)
INPUTS = {**ONE_PICTURE, "images": ONE_PICTURE["images"][:, None]}


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module", params=["task", "backbone"])
def model(request, task) -> PaliGemma2CausalLM | PaliGemma2Backbone:
    return task if request.param == "task" else task.backbone


def run(model: keras.Model, inputs: dict) -> np.ndarray:
    return ops.convert_to_numpy(model(inputs))


def check_archive(model: keras.Model, inputs: dict, folder: Path) -> None:
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_allclose(run(loaded, inputs), run(model, inputs), atol=1e-5)


def test_a_head_on_the_output_is_saved(model, tmp_path):
    hidden = run(model, INPUTS)
    head = keras.layers.Dense(3)
    headed = keras.Model(model.input, head(model.output))
    expected = hidden @ ops.convert_to_numpy(head.kernel)
    np.testing.assert_allclose(run(headed, INPUTS), expected, atol=1e-4)
    check_archive(headed, INPUTS, tmp_path)


def test_a_copy_computes_the_same(model):
    copied = keras.models.clone_model(model)
    assert len(copied.weights) == len(model.weights)
    originals = {id(weight) for weight in model.weights}
    assert not originals & {id(weight) for weight in copied.weights}
    copied.set_weights(model.get_weights())
    np.testing.assert_allclose(run(copied, INPUTS), run(model, INPUTS), atol=1e-5)


def test_a_call_on_symbolic_pictures(model, tmp_path):
    """One picture an example, [B, h, w, 3]: its rows are no pictures."""
    symbolic = {
        name: keras.Input(value.shape[1:], dtype=value.dtype.name, name=name)
        for name, value in ONE_PICTURE.items()
    }
    outer = keras.Model(symbolic, model(symbolic))
    expected = run(model, INPUTS)
    assert outer.output_shape == (None, *expected.shape[1:])
    np.testing.assert_allclose(run(outer, ONE_PICTURE), expected, atol=1e-5)
    check_archive(outer, ONE_PICTURE, tmp_path)


def test_the_encoder_takes_one_picture_an_example(task):
    encode = task.backbone.encode_images
    images = ops.convert_to_tensor(ONE_PICTURE["images"])
    expected = ops.convert_to_numpy(encode(images[:, None]))
    np.testing.assert_array_equal(ops.convert_to_numpy(encode(images)), expected)
    symbolic = encode(keras.Input((28, 28, 3)))
    assert symbolic.shape == (None, *expected.shape[1:])


def test_rows_of_pixels_are_no_pictures(model):
    """A model on symbolic inputs keeps to their rank, which has pictures."""
    cut = keras.Model(model.input, model.output)
    rows = {name: np.repeat(value[:1], 28, 0) for name, value in ONE_PICTURE.items()}
    with pytest.raises(ValueError, match=r"\(None, None, 28, 28, 3\)"):
        cut(rows)
