"""`PaliGemma2Backbone` beside the conventions of KerasHub's backbones."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2Backbone
from keras_pg2.modeling.backbone import with_image_axis
from tests.support.keras_hub_harness import (
    POLICIES,
    assert_equal,
    check_config,
    check_name,
    check_policy,
    check_quantized,
    check_saved,
    dataset,
    forms,
)
from tests.support.one_program import apply
from tests.support.tiny_networks import (
    TEXT_DECODER,
    VISION_ENCODER,
    random_inputs,
    randomize,
)

NUM_TOKENS = 4 + 5


@pytest.fixture(scope="module")
def backbone() -> PaliGemma2Backbone:
    backbone = make("float32")
    randomize(backbone, 0)
    return backbone


def make(dtype) -> PaliGemma2Backbone:
    return PaliGemma2Backbone(VISION_ENCODER, TEXT_DECODER, dtype=dtype)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return random_inputs([5, 3], num_responses=1)


def test_config(backbone):
    check_config(backbone)


def test_name(backbone):
    check_name(backbone)


def test_call(backbone, inputs):
    assert backbone(inputs).shape == (2, NUM_TOKENS, TEXT_DECODER["hidden_dim"])


def test_token_embedding(backbone):
    assert backbone.token_embedding(ops.zeros((2, 3), dtype="int32")).shape == (
        2,
        3,
        TEXT_DECODER["hidden_dim"],
    )


def test_length_of_the_text_may_vary(backbone, inputs):
    texts = ("token_ids", "padding_mask", "response_mask")
    shorter = {**inputs, **{key: inputs[key][:, :3] for key in texts}}
    assert backbone.predict_on_batch(shorter).shape[1] == 4 + 3


# Keras 3.15 warns of the end of any Grain data set; KerasHub's tasks know better.
@pytest.mark.parametrize("form", forms("arrays", "tf.data", "PyDataset"))
def test_predict(backbone, inputs, form):
    found = backbone.predict(dataset(form, inputs, 2), verbose=0)
    assert_equal(found, apply(backbone, inputs), 1e-4)


@pytest.mark.parametrize("policy", POLICIES)
def test_policy(inputs, policy):
    """Encoder and decoder, whose tests call them, are most of it."""
    check_policy(make, policy, lambda backbone: backbone.compute_output_spec(inputs))


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_by_policies(inputs, mode):
    check_quantized(make, mode, inputs)


def test_keras_file(backbone, inputs, tmp_path):
    check_saved(backbone, inputs, tmp_path / "backbone.keras")


def test_weight_file(backbone, inputs, tmp_path):
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    other = make("float32")
    other.load_weights(tmp_path / "backbone.weights.h5")
    assert_equal(apply(other, inputs), apply(backbone, inputs), 1e-6)


def test_clone(backbone, inputs):
    clone = keras.models.clone_model(backbone)
    clone.set_weights(backbone.get_weights())
    inputs = with_image_axis(inputs)  # The graph alone has no call.
    assert_equal(apply(clone, inputs), apply(backbone, inputs), 1e-6)


def test_inside_another_model(backbone, inputs, tmp_path):
    symbols = {
        key: keras.Input(symbol.shape[1:], dtype=symbol.dtype, name=key)
        for key, symbol in backbone.input.items()
    }
    outer = keras.Model(symbols, ops.mean(backbone(symbols), axis=-1))
    given = {**inputs, "images": inputs["images"][:, None]}
    check_saved(outer, given, tmp_path / "outer.keras")


@pytest.mark.parametrize("cls", [PaliGemma2Backbone, keras_hub.models.Backbone])
def test_preset(backbone, inputs, tmp_path, cls):
    folder = str(tmp_path / "preset")
    backbone.save_to_preset(folder)
    loaded = cls.from_preset(folder)
    assert type(loaded) is PaliGemma2Backbone
    assert_equal(apply(loaded, inputs), apply(backbone, inputs), 1e-6)
    empty = cls.from_preset(folder, load_weights=False)
    assert not np.allclose(empty.get_weights()[-1], backbone.get_weights()[-1])
    cast = cls.from_preset(folder, dtype="bfloat16")
    assert {weight.dtype for weight in cast.weights} == {"bfloat16"}


def test_preset_by_name(inputs):
    assert PaliGemma2Backbone.from_preset("pali_gemma2_nano").image_size == 84
    with pytest.raises(ValueError, match="clowntown"):
        PaliGemma2Backbone.from_preset("clowntown")


def test_lora(inputs):
    backbone = make("float32")
    randomize(backbone, 0)
    before = apply(backbone, inputs)
    backbone.enable_lora(2)
    assert_equal(apply(backbone, inputs), before, 1e-6)
    names = {weight.path.split("/")[-2] for weight in backbone.trainable_weights}
    assert names == {"query_dense", "value_dense"}
    assert all("/lora_" in weight.path for weight in backbone.trainable_weights)


def test_lora_of_an_unknown_layer():
    with pytest.raises(ValueError, match=r"Received: query\.$"):
        make("float32").enable_lora(2, ["query_dense", "query"])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's modules")
def test_parameters_of_pytorch(backbone):
    values = {id(value) for value in backbone.parameters()}
    assert values == {id(variable.value) for variable in backbone.variables}
