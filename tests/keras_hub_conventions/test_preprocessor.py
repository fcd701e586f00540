"""`PaliGemma2CausalLMPreprocessor` beside KerasHub's conventions."""

from __future__ import annotations

import keras_hub
import numpy as np
import pytest

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2ImageConverter,
    PaliGemma2Tokenizer,
)
from tests.support.keras_hub_harness import (
    assert_equal,
    check_config,
    check_name,
    check_pipelines,
    dataset,
    forms,
)
from tests.support.tiny_vocabulary import gemma_like_proto

LENGTH = 16


@pytest.fixture(scope="module")
def preprocessor() -> PaliGemma2CausalLMPreprocessor:
    return PaliGemma2CausalLMPreprocessor(
        PaliGemma2Tokenizer(gemma_like_proto()),
        PaliGemma2ImageConverter(28),
        sequence_length=LENGTH,
    )


@pytest.fixture(scope="module")
def data() -> dict[str, object]:
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8),
        "prompts": ["caption en", "ocr", "answer en what?"],
        "responses": ["a dog", "blue", "grass"],
    }


def test_config(preprocessor):
    check_config(preprocessor)


def test_name(preprocessor):
    check_name(preprocessor)


def test_classes_name_each_other():
    cls = PaliGemma2CausalLMPreprocessor
    assert cls.backbone_cls is PaliGemma2Backbone
    assert cls.tokenizer_cls is PaliGemma2Tokenizer
    assert cls.image_converter_cls is PaliGemma2ImageConverter


@pytest.mark.parametrize("form", forms("tf.data", "grain"))
def test_pipelines(preprocessor, data, form):
    check_pipelines(preprocessor, data, form)


@pytest.mark.parametrize("form", forms("tf.data", "grain"))
def test_pipelines_with_weights_of_rows(preprocessor, data, form):
    rows = (data, None, np.array([0, 1, 3], np.float32))
    check_pipelines(preprocessor, rows, form, function=lambda *row: preprocessor(*row))


def test_a_tuple_is_taken_apart(preprocessor, data):
    weights = np.array([0, 1, 3], np.float32)
    expected = preprocessor(data, sample_weight=weights)
    assert_equal(preprocessor((data, None, weights)), expected)


@pytest.mark.parametrize("form", forms())
def test_sequence_length_may_be_set(preprocessor, data, form):
    assert preprocessor(data)[0]["token_ids"].shape == (3, LENGTH)
    assert preprocessor(data, sequence_length=13)[0]["token_ids"].shape == (3, 13)
    preprocessor.sequence_length = 17
    try:
        prepared = dataset(form, data, 3, preprocessor)
        [batch] = [prepared] if form == "arrays" else prepared
    finally:
        preprocessor.sequence_length = LENGTH
    inputs, labels, weights = batch
    assert inputs["token_ids"].shape == labels.shape == weights.shape == (3, 17)


def test_labels_are_the_next_tokens(preprocessor, data):
    inputs, labels, weights = preprocessor(data)
    np.testing.assert_array_equal(labels[:, :-1], inputs["token_ids"][:, 1:])
    tokenizer = preprocessor.tokenizer
    for row, answer in enumerate(data["responses"]):
        wanted = labels[row][weights[row] == 1].tolist()
        assert wanted == [*tokenizer(answer), tokenizer.end_token_id]


def test_generation_is_padded_to_the_length_that_is_asked_for(preprocessor, data):
    prompts = {key: data[key] for key in ("images", "prompts")}
    arrays = preprocessor.generate_preprocess(prompts, sequence_length=LENGTH)
    assert arrays["token_ids"].shape == arrays["padding_mask"].shape == (3, LENGTH)
    assert arrays.keys() == {"images", "token_ids", "padding_mask", "response_mask"}
    pad = preprocessor.tokenizer.pad_token_id
    assert (arrays["token_ids"][~arrays["padding_mask"]] == pad).all()


def test_generation_back_to_text(preprocessor, data):
    arrays = preprocessor.generate_preprocess(data)
    texts = preprocessor.generate_postprocess(arrays)
    expected = [
        f"{prompt}\n{response}"
        for prompt, response in zip(data["prompts"], data["responses"])
    ]
    assert texts == expected


@pytest.mark.parametrize(
    "cls",
    [
        PaliGemma2CausalLMPreprocessor,
        keras_hub.models.CausalLMPreprocessor,
        keras_hub.models.Preprocessor,
    ],
)
def test_preset(preprocessor, data, preset, cls):
    if cls is keras_hub.models.Preprocessor:
        with pytest.raises(ValueError, match="Do not call `Preprocessor"):
            cls.from_preset(preset)
        return
    loaded = cls.from_preset(preset)
    assert type(loaded) is PaliGemma2CausalLMPreprocessor
    assert loaded.sequence_length == LENGTH
    assert_equal(loaded(data), preprocessor(data))


def test_preset_by_name():
    loaded = PaliGemma2CausalLMPreprocessor.from_preset("pali_gemma2_nano")
    assert loaded.image_converter.image_size == (84, 84)
    with pytest.raises(ValueError, match="clowntown"):
        PaliGemma2CausalLMPreprocessor.from_preset("clowntown")
