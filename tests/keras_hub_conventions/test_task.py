"""`PaliGemma2CausalLM` beside the conventions of KerasHub's tasks."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    PaliGemma2CausalLMPreprocessor,
    PaliGemma2Tokenizer,
    Sampler,
)
from keras_pg2.modeling.backbone import with_image_axis
from tests.support.keras_hub_harness import (
    assert_equal,
    check_config,
    check_name,
    check_saved,
    dataset,
    forms,
    plain,
)
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER, random_inputs

LENGTH = 16
NANO = Path(__file__).parents[2] / "presets" / "pali_gemma2_nano_84"
OPTIONS = {"max_new_tokens": 4, "stop_token_ids": None}
SGD = 0.002


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    """A task whose steps are compiled once for all tests that train."""
    task = random_task(sequence_length=LENGTH)
    task.compile(optimizer=keras.optimizers.SGD(SGD))
    return task


@pytest.fixture(scope="module")
def weights(task) -> list[np.ndarray]:
    return task.get_weights()


@pytest.fixture
def fresh(task, weights) -> PaliGemma2CausalLM:
    """The task with its first weights, which are given back after the test."""
    yield task
    task.set_weights(weights)


@pytest.fixture(scope="module")
def data() -> dict[str, object]:
    """Four rows, with pictures of the model's size, which nobody resizes."""
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (4, 28, 28, 3), dtype=np.uint8),
        "prompts": ["caption en", "ocr", "answer en what?", "detect dog"],
        "responses": ["a dog", "blue", "grass", "dog"],
    }


def test_config(task):
    check_config(task)


def test_name(task):
    check_name(task)


def test_config_holds_both_parts(task):
    assert task.get_config().keys() == {"backbone", "preprocessor", "name"}


def test_preprocessor_gives_what_the_model_takes(task, data):
    inputs, _, _ = task.preprocessor(data)
    for key, symbol in task.input.items():
        rank = len(inputs[key].shape) + (key == "images")
        assert rank == len(symbol.shape)
        assert keras.backend.standardize_dtype(inputs[key].dtype) == symbol.dtype
    keras.tree.assert_same_structure(inputs, task.input)


@pytest.fixture(scope="module")
def logits(task, data) -> np.ndarray:
    """Logits of both halves of the data, prepared by a call of the preprocessor."""
    arrays, _, _ = task.preprocessor(data)
    preprocessor, task.preprocessor = task.preprocessor, None
    halves = [{key: a[i : i + 2] for key, a in arrays.items()} for i in (0, 2)]
    logits = np.concatenate([task.predict_on_batch(half) for half in halves])
    task.preprocessor = preprocessor
    return logits


@pytest.mark.parametrize("form", forms())
def test_predict(task, data, logits, form):
    options = {"batch_size": 2} if form == "arrays" else {}
    found = task.predict(dataset(form, data, 2), verbose=0, **options)
    assert found.shape == (4, LENGTH, task.backbone.vocabulary_size)
    assert_equal(found, logits, 1e-4)


@pytest.mark.parametrize("form", forms())
def test_predict_of_prepared_data(task, data, logits, form):
    preprocessor = task.preprocessor
    prepared = dataset(form, data, 2, preprocessor)
    if form == "arrays":
        arguments = {"x": prepared[0], "batch_size": 2}
    else:
        arguments = {"x": prepared}
    task.preprocessor = None
    try:
        found = task.predict(**arguments, verbose=0)
    finally:
        task.preprocessor = preprocessor
    assert_equal(found, logits, 1e-4)


@pytest.fixture(scope="module")
def expected_loss(task, weights, data) -> float:
    """Mean over tokens of two steps of SGD, one batch at a time."""
    halves = [{key: column[i : i + 2] for key, column in data.items()} for i in (0, 2)]
    losses, counts = [], []
    for half in halves:
        task.reset_metrics()
        losses.append(float(task.train_on_batch(half)[0]))
        counts.append(np.sum(task.preprocessor(half)[2]))
    task.set_weights(weights)
    return float(np.average(losses, weights=counts))


@pytest.mark.parametrize("form", forms())
def test_fit(fresh, data, form, expected_loss):
    options = {"batch_size": 2, "shuffle": False} if form == "arrays" else {}
    history = fresh.fit(dataset(form, data, 2), verbose=0, **options).history
    np.testing.assert_allclose(history["loss"], expected_loss, rtol=1e-5)


@pytest.mark.parametrize("form", forms())
def test_fit_of_prepared_data(fresh, data, form, expected_loss):
    preprocessor = fresh.preprocessor
    prepared = dataset(form, data, 2, preprocessor)
    if form == "arrays":
        names = ("x", "y", "sample_weight")
        arguments = dict(zip(names, prepared), batch_size=2, shuffle=False)
    else:
        arguments = {"x": prepared}
    fresh.preprocessor = None
    try:
        history = fresh.fit(**arguments, verbose=0).history
    finally:
        fresh.preprocessor = preprocessor
    np.testing.assert_allclose(history["loss"], expected_loss, rtol=1e-5)


@pytest.mark.parametrize("form", forms())
def test_weights_of_rows(fresh, data, form):
    """Rows of weight 0 count for nothing, and the mean is one of weights."""
    weights = np.array([0, 2], np.float32)
    pair = {key: column[:2] for key, column in data.items()}
    twice = {key: [column[1]] * 2 for key, column in pair.items()}
    expected = fresh.test_on_batch(twice)
    found = fresh.evaluate(dataset(form, (pair, None, weights), 2), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("form", forms())
def test_fit_without_compile(task, data, form):
    raw = PaliGemma2CausalLM(task.backbone, task.preprocessor, compile=False)
    with pytest.raises(ValueError, match="You must call `compile"):
        raw.fit(dataset(form, data, 2), verbose=0)


@pytest.fixture(scope="module")
def pair(data) -> dict[str, object]:
    """Two pictures with their prompts."""
    return {key: data[key][:2] for key in ("images", "prompts")}


@pytest.fixture(scope="module")
def texts(task, pair) -> list[str]:
    """What is generated for them."""
    return task.generate(pair, **OPTIONS)


def test_generate_without_compile(task, pair, texts):
    raw = PaliGemma2CausalLM(task.backbone, task.preprocessor, compile=False)
    assert raw.generate(pair, **OPTIONS) == texts


def test_policy(task):
    """Logits are float32, whatever the policy of the network."""
    inputs = random_inputs([5, 3])
    architecture = task.backbone.architecture
    model = PaliGemma2CausalLM(PaliGemma2Backbone(**architecture, dtype="bfloat16"))
    assert model.dtype_policy.name == "bfloat16"
    assert model.compute_output_spec(inputs).dtype == "float32"
    assert keras.backend.standardize_dtype(model(inputs).dtype) == "float32"


def test_keras_file(task, tmp_path):
    check_saved(task, random_inputs([5, 3]), tmp_path / "task.keras")


def test_weight_file(task, tmp_path):
    task.save_weights(tmp_path / "task.weights.h5")
    other = random_task(1, sequence_length=LENGTH)
    other.load_weights(tmp_path / "task.weights.h5")
    inputs = random_inputs([5, 3])
    assert_equal(apply(other, inputs), apply(task, inputs), 1e-6)


def test_clone(task):
    clone = keras.models.clone_model(task)
    clone.set_weights(task.get_weights())
    inputs = with_image_axis(random_inputs([5, 3]))  # The graph alone has no call.
    assert_equal(apply(clone, inputs), apply(task, inputs), 1e-6)


def test_inside_another_model(task, tmp_path):
    """As a layer of a functional model, which is saved and loaded."""
    inputs = random_inputs([5, 3])
    symbols = {
        key: keras.Input(symbol.shape[1:], dtype=symbol.dtype, name=key)
        for key, symbol in task.input.items()
    }
    given = {**inputs, "images": inputs["images"][:, None]}
    outer = keras.Model(symbols, ops.mean(task(symbols), axis=-1))
    check_saved(outer, given, tmp_path / "outer.keras")


def test_seed_of_weights():
    """The same seed of Keras gives the same weights and LoRA factors."""

    def weights(seed):
        keras.utils.set_random_seed(seed)
        model = PaliGemma2CausalLM(PaliGemma2Backbone(VISION_ENCODER, TEXT_DECODER))
        model.enable_lora(2)
        return model.get_weights()

    first = weights(1)
    assert_equal(weights(1), first)
    assert any(np.any(a != b) for a, b in zip(first, weights(2)))


def test_seed_of_answers(task, pair):
    """The same seed of Keras gives the same random answers."""
    model = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    model.compile(sampler=Sampler(temperature=5.0))

    def answers(seed):
        keras.utils.set_random_seed(seed)
        return [model.generate(pair, **OPTIONS) for _ in range(2)]

    first, second = answers(1)
    assert first != second
    assert answers(1) == [first, second] != answers(2)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's modules")
def test_parameters_of_pytorch(task):
    parameters = dict(task.named_parameters())
    values = {id(value): value for value in task.parameters()}
    assert values.keys() == {id(value) for value in parameters.values()}
    assert values.keys() == {id(weight.value) for weight in task.weights}
    for weight in task.weights:
        assert values[id(weight.value)].requires_grad == weight.trainable


def test_bad_preset_name():
    with pytest.raises(ValueError, match="clowntown"):
        PaliGemma2CausalLM.from_preset("clowntown")


def test_presets_are_listed():
    presets = PaliGemma2CausalLM.presets
    assert {"pali_gemma2_nano_84", "pali_gemma2_mix_3b_224"} <= presets.keys()
    assert presets.keys() == PaliGemma2Backbone.presets.keys()
    known = keras_hub.models.CausalLM.presets
    assert {"pali_gemma2_nano_84", "pali_gemma2_nano"} <= known.keys()


@pytest.mark.parametrize("cls", [PaliGemma2CausalLM, keras_hub.models.CausalLM])
def test_preset(task, weights, preset, cls):
    loaded = cls.from_preset(preset)
    assert type(loaded) is PaliGemma2CausalLM
    assert loaded.preprocessor.sequence_length == LENGTH
    assert_equal(loaded.get_weights(), weights)


def test_preset_of_the_base_class(preset):
    with pytest.raises(ValueError, match=r"Do not call `Task.from_preset"):
        keras_hub.models.Task.from_preset(preset)


@pytest.mark.parametrize("cls", [PaliGemma2CausalLM, keras_hub.models.CausalLM])
def test_preset_without_weights(task, preset, cls):
    loaded = cls.from_preset(preset, load_weights=False)
    inputs = random_inputs([5, 3])
    assert loaded(inputs).shape == task(inputs).shape
    assert not np.allclose(loaded.get_weights()[-1], task.get_weights()[-1])


@pytest.mark.parametrize("cls", [PaliGemma2CausalLM, keras_hub.models.CausalLM])
def test_options_of_from_preset(preset, cls):
    loaded = cls.from_preset(
        preset, dtype="bfloat16", preprocessor=None, compile=False, name="mine"
    )
    assert type(loaded) is PaliGemma2CausalLM
    assert loaded.preprocessor is None
    assert not loaded.compiled
    assert loaded.name == "mine"
    assert {weight.dtype for weight in loaded.weights} == {"bfloat16"}


def test_backbone_of_a_preset_takes_other_numbers(preset):
    backbone = keras_hub.models.Backbone.from_preset(preset)
    assert type(backbone) is PaliGemma2Backbone
    text_decoder = {
        **backbone.architecture["text_decoder"],
        "final_logit_soft_cap": None,
    }
    changed = PaliGemma2Backbone.from_preset(preset, text_decoder=text_decoder)
    assert changed.text_decoder.final_logit_soft_cap is None


def test_preset_names_what_it_holds(preset):
    metadata = json.loads((Path(preset) / "metadata.json").read_text())
    assert metadata["tasks"] == ["CausalLM"]
    assert metadata["keras_hub_version"] == keras_hub.__version__
    config = json.loads((Path(preset) / "task.json").read_text())
    assert config["registered_name"] == "keras_pg2>PaliGemma2CausalLM"


def test_sharded_preset(task, preset, tmp_path):
    task.save_to_preset(tmp_path / "shards", max_shard_size=2e-4)
    assert len(list((tmp_path / "shards").glob("model_*.weights.h5"))) > 1
    loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path / "shards"))
    assert_equal(loaded.get_weights(), task.get_weights())


def _through_keras_hub(model, folder):
    return keras_hub.models.CausalLM.from_preset(str(NANO))


def _through_a_preset_of_keras_hub(model, folder):
    model.save_to_preset(folder / "preset")
    return keras_hub.models.CausalLM.from_preset(str(folder / "preset"))


def _through_a_keras_file(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


@pytest.fixture(scope="module")
def nano() -> PaliGemma2CausalLM:
    return PaliGemma2CausalLM.from_preset(NANO)


@pytest.mark.parametrize(
    "door",
    [
        _through_keras_hub,
        _through_a_preset_of_keras_hub,
        _through_a_keras_file,
    ],
)
def test_codec_and_calibration_come_through_every_door(nano, tmp_path, door):
    model = door(nano, tmp_path)
    assert type(model) is PaliGemma2CausalLM
    assert model.mask_codec is not None
    assert model.score_calibration is not None
    assert model.score_calibration == nano.score_calibration


def test_quantize(tmp_path):
    model = PaliGemma2CausalLM(random_task().backbone)
    model.quantize("int8")
    inputs = random_inputs([5, 3])
    logits = model.predict_on_batch(inputs)
    model.save_to_preset(tmp_path / "int8")
    loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path / "int8"))
    assert {weight.dtype for weight in loaded.weights} >= {"int8"}
    assert_equal(loaded.predict_on_batch(inputs), logits, 1e-5)


def test_summary_shows_the_preprocessor(task, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # Rich cuts what is wider.
    lines = []
    task.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "pali_gemma2_tokenizer" in text
    assert "(28, 28)" in text
    assert "pali_gemma2_backbone" in text


def test_generate_of_arrays(task, pair, texts):
    arrays = task.preprocessor.generate_preprocess(pair)
    raw = PaliGemma2CausalLM(task.backbone, preprocessor=None)
    tokens = raw.generate(arrays, **OPTIONS)
    assert task.preprocessor.generate_postprocess(tokens) == texts
    assert texts[0].startswith("caption en\n")


@pytest.mark.parametrize("form", forms("tf.data"))
def test_generate_takes_a_data_set(task, pair, texts, form):
    assert task.generate(dataset(form, pair, 2), **OPTIONS) == texts


def test_lora_of_the_backbone():
    task = random_task(sequence_length=LENGTH)
    task.backbone.enable_lora(2)
    paths = [weight.path for weight in task.trainable_weights]
    assert len(paths) > 0
    assert all("/lora_" in path for path in paths), paths


def test_lora_weights_of_the_backbone(tmp_path):
    """They are saved and loaded as KerasHub's guides do it."""
    inputs = random_inputs([5, 3])
    path = str(tmp_path / "model.lora.h5")
    task, other = random_task(), random_task()
    before = apply(task, inputs)
    task.backbone.enable_lora(2)
    rng = np.random.default_rng(0)
    for factor in task.trainable_weights:
        factor.assign(rng.normal(0, 0.1, factor.shape))
    task.backbone.save_lora_weights(path)
    other.backbone.enable_lora(2)
    assert_equal(apply(other, inputs), before, 1e-5)
    other.backbone.load_lora_weights(path)
    assert_equal(apply(other, inputs), apply(task, inputs), 1e-5)
    assert np.abs(plain(apply(task, inputs)) - plain(before)).max() > 0.1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # KerasHub's PaliGemma alone has these two in the other order.
        (PaliGemma2CausalLM, keras_hub.models.GemmaCausalLM),
        (
            PaliGemma2CausalLMPreprocessor,
            keras_hub.models.PaliGemmaCausalLMPreprocessor,
        ),
        (PaliGemma2CausalLM.generate, keras_hub.models.CausalLM.generate),
        (PaliGemma2CausalLM.compile, keras_hub.models.PaliGemmaCausalLM.compile),
        (PaliGemma2CausalLM.fit, keras_hub.models.CausalLM.fit),
        (PaliGemma2CausalLM.predict, keras_hub.models.CausalLM.predict),
        (PaliGemma2CausalLM.from_preset, keras_hub.models.CausalLM.from_preset),
        (PaliGemma2Backbone.enable_lora, keras_hub.models.Backbone.enable_lora),
        (PaliGemma2Tokenizer, keras_hub.tokenizers.PaliGemmaTokenizer),
    ],
)
def test_arguments_have_the_names_and_the_order_of_keras_hub(ours, theirs):
    def names(function):
        parameters = inspect.signature(function).parameters.values()
        return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]

    shared = names(theirs)
    assert names(ours)[: len(shared)] == shared


def test_classes_name_each_other():
    assert PaliGemma2CausalLM.backbone_cls is PaliGemma2Backbone
    assert PaliGemma2CausalLM.preprocessor_cls is PaliGemma2CausalLMPreprocessor
    assert issubclass(PaliGemma2CausalLM, keras_hub.models.CausalLM)
