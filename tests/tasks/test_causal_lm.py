"""The task as its user meets it: pictures and prompts in, text out."""

from __future__ import annotations

import copy

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_pg2
from keras_pg2 import PaliGemma2CausalLM, Sampler
from tests.support.one_program import apply
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

OPTIONS = {"max_new_tokens": 5, "stop_token_ids": None}


@pytest.fixture(scope="module")
def task() -> PaliGemma2CausalLM:
    return random_task()


@pytest.fixture(scope="module")
def raw(task) -> PaliGemma2CausalLM:
    """The same network without a preprocessor: it takes and returns arrays."""
    return PaliGemma2CausalLM(task.backbone)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.two_backends("lists of texts")
def test_kind_of_result_follows_kind_of_prompts(task, pixels):
    text = task.generate({"images": pixels, "prompts": "caption en"}, **OPTIONS)
    assert isinstance(text, str)
    assert text.startswith("caption en\n")
    swapped = {"prompts": "caption en", "images": pixels}
    assert task.generate(swapped, **OPTIONS) == text
    assert task.generate(swapped, **OPTIONS) == text
    listed = task.generate({"images": [pixels], "prompts": ["caption en"]}, **OPTIONS)
    assert listed == [text]
    stripped = task.generate(
        {"images": pixels, "prompts": "caption en"}, strip_prompt=True, **OPTIONS
    )
    assert text == "caption en\n" + stripped


def test_the_callers_inputs_are_left_alone(task, pixels):
    inputs = {"images": pixels, "prompts": "caption en"}
    before = copy.deepcopy(inputs)
    task.generate(inputs, **OPTIONS)
    assert inputs.keys() == before.keys()
    assert inputs["prompts"] == before["prompts"]
    np.testing.assert_array_equal(inputs["images"], before["images"])


def test_all_kinds_of_image_give_one_answer(task, pixels, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    kinds = [path, str(path), Image.open(path), pixels, pixels.astype("float32")]
    texts = {task.generate({"images": k, "prompts": "ocr"}, **OPTIONS) for k in kinds}
    assert len(texts) == 1


@pytest.mark.two_backends("pictures of Pillow")
def test_mixed_sizes_and_modes_in_a_batch_equal_each_alone(task, pixels):
    images = [
        pixels,
        pixels[:25, :17],
        pixels[..., 0],
        Image.fromarray(pixels).convert("RGBA"),
    ]
    prompts = ["ocr", "caption en", "detect cat ; dog", "answer en what is this?"]
    together = task.generate({"images": images, "prompts": prompts}, **OPTIONS)
    for image, prompt, text in zip(images, prompts, together, strict=True):
        alone = task.generate({"images": image, "prompts": prompt}, **OPTIONS)
        assert alone == text


@pytest.mark.two_backends("rows of NumPy")
def test_one_image_with_several_prompts(task, pixels):
    prompts = ["ocr", "answer en what is this?"]
    together = task.generate({"images": pixels, "prompts": prompts}, **OPTIONS)
    alone = [
        task.generate({"images": pixels, "prompts": p}, **OPTIONS) for p in prompts
    ]
    assert together == alone


def test_several_images_and_none(task, pixels):
    one = task.generate({"images": pixels, "prompts": "ocr"}, **OPTIONS)
    other = pixels[::-1]
    two = task.generate({"images": [pixels, other], "prompts": "ocr"}, **OPTIONS)
    none = task.generate("ocr", **OPTIONS)
    assert len({one, two, none}) == 3
    assert task.generate(["ocr"], **OPTIONS) == [none]


def test_max_length_counts_prompt_and_answer(raw, task, pixels):
    inputs = {"images": pixels, "prompts": ["ocr", "caption en"]}
    arrays = task.preprocessor.generate_preprocess(inputs)
    lengths = arrays["padding_mask"].sum(axis=1)
    result = raw.generate(arrays, max_length=16, stop_token_ids=None)
    assert result["padding_mask"].sum(axis=1).tolist() == [16, 16]
    result = raw.generate(arrays, max_new_tokens=3, stop_token_ids=None)
    assert (result["padding_mask"].sum(axis=1) - lengths).tolist() == [3, 3]


def test_responses_are_the_beginning_of_the_answer(task, pixels):
    inputs = {"images": pixels, "prompts": "ocr"}
    answer = task.generate(inputs, strip_prompt=True, **OPTIONS)
    start = answer[: len(answer) // 2]
    given = {**inputs, "responses": start}
    text = task.generate(given, max_new_tokens=2, stop_token_ids=None)
    assert text.startswith("ocr\n" + start)


@pytest.mark.two_backends("test_decoding stops on all")
def test_generation_stops_at_the_end_token(raw, task, pixels):
    inputs = {"images": pixels, "prompts": "caption en"}
    arrays = task.preprocessor.generate_preprocess(inputs)
    free = raw.generate(
        arrays, max_new_tokens=8, stop_token_ids=None, strip_prompt=True
    )
    tokens = free["token_ids"][0].tolist()
    stop = tokens[4]
    stopped = raw.generate(
        arrays, max_new_tokens=8, stop_token_ids=[stop], strip_prompt=True
    )
    assert stopped["token_ids"][0].tolist() == tokens[: tokens.index(stop) + 1]


def test_seed_reproduces(task, pixels):
    sampling = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    sampling.compile(sampler=Sampler(temperature=5.0, top_k=50))
    inputs = {"images": pixels, "prompts": "caption en"}
    texts = [sampling.generate(inputs, seed=s, **OPTIONS) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert sampling.generate(inputs, **OPTIONS) != sampling.generate(inputs, **OPTIONS)


def test_keras_own_seed_reproduces(task, pixels):
    """Also the first call, in which functions are compiled."""
    inputs = {"images": pixels, "prompts": "caption en"}
    runs = []
    sampling = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    sampling.compile(sampler=Sampler(temperature=5.0, top_k=50))
    for _ in range(2):
        keras.utils.set_random_seed(1)
        runs.append([sampling.generate(inputs, **OPTIONS) for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


def test_logits_are_those_of_the_text_positions(task):
    inputs = random_inputs([5, 3], num_responses=1)
    hidden = apply(task.backbone, inputs)
    expected = task.backbone.project_to_vocabulary(hidden)[:, -5:]
    logits = ops.convert_to_numpy(apply(task, inputs))
    np.testing.assert_allclose(logits, ops.convert_to_numpy(expected), atol=1e-5)


def test_new_weights_are_seen_by_a_compiled_generation(pixels):
    task, other = random_task(0), random_task(1)
    inputs = {"images": pixels, "prompts": "caption en"}
    before = task.generate(inputs, **OPTIONS)
    for ours, theirs in zip(task.weights, other.weights, strict=True):
        ours.assign(theirs)
    after = task.generate(inputs, **OPTIONS)
    assert after == other.generate(inputs, **OPTIONS) != before


def test_a_training_step_lowers_the_loss_of_its_batch(pixels):
    task = random_task()
    x, y, sample_weight = task.preprocessor(
        {"images": [pixels], "prompts": ["ocr"], "responses": ["blue"]},
        sequence_length=16,
    )
    task = PaliGemma2CausalLM(task.backbone)  # Takes the arrays as they are.
    task.compile(optimizer=keras.optimizers.Adam(1e-4))
    losses = [
        float(task.train_on_batch(x, y, sample_weight, return_dict=True)["loss"])
        for _ in range(3)
    ]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ({"prompts": 3}, {}, TypeError, "text"),
        ({"images": None}, {}, ValueError, "prompts"),
        ("ocr " * 80, {}, ValueError, "token"),
        ("ocr " * 80, {"max_new_tokens": 4}, ValueError, "is never cut"),
        ("ocr", {"max_length": 2}, ValueError, "is never cut"),
        ("ocr", {"max_new_tokens": 3.5}, ValueError, "whole number"),
        ("ocr", {"stop_token_ids": ["a"]}, ValueError, "stop_token_ids"),
        ("ocr", {"max_new_tokens": 0}, ValueError, "whole number >= 1"),
        (
            {"prompts": "ocr", "images": "/missing.png"},
            {},
            (FileNotFoundError, ValueError),
            "missing",
        ),
    ],
)
def test_bad_inputs(task, inputs, options, error, message):
    with pytest.raises(error, match=message):
        task.generate(inputs, **options)


@pytest.mark.two_backends("lengths, before the network")
def test_an_answer_may_outgrow_the_sequence_length(raw, task):
    length = task.preprocessor.sequence_length
    arrays = task.preprocessor.generate_preprocess("ocr")
    options = {"stop_token_ids": None, "max_new_tokens": length + 6}
    expected = raw.generate(arrays, **options)
    assert expected["padding_mask"].sum() == arrays["padding_mask"].sum() + length + 6
    text = task.generate("ocr", **options)
    assert text == task.preprocessor.generate_postprocess(expected)[0]


@pytest.mark.two_backends("the same arrays")
def test_preprocessing_apart_from_the_model_gives_the_same_answers(task, pixels):
    """The pattern of KerasHub's documentation."""
    prompts = ["ocr", "answer en what is this?"]
    inputs = {"images": pixels, "prompts": prompts}
    raw = PaliGemma2CausalLM(task.backbone, task.preprocessor)
    arrays = raw.preprocessor.generate_preprocess(inputs, sequence_length=20)
    raw.preprocessor = None
    answers = raw.generate(arrays, stop_token_ids=None)
    assert answers["padding_mask"].sum(axis=1).tolist() == [20, 20]
    expected = task.generate(inputs, max_length=20, stop_token_ids=None)
    assert task.preprocessor.generate_postprocess(answers) == expected


def test_arrays_without_a_preprocessor_are_checked(raw):
    inputs = random_inputs([3, 5])
    options = {"max_new_tokens": 2, "stop_token_ids": np.array([1, 2])}
    whole = raw.generate(inputs, **options)
    del inputs["response_mask"]
    np.testing.assert_array_equal(
        raw.generate(inputs, **options)["token_ids"], whole["token_ids"]
    )
    with pytest.raises(ValueError, match="padding_mask"):
        raw.generate({"images": inputs["images"]}, **options)
    with pytest.raises(TypeError, match="str"):
        raw.generate("ocr", **options)
    left = {**inputs, "padding_mask": inputs["padding_mask"][:, ::-1]}
    with pytest.raises(ValueError, match="padded on the right"):
        raw.generate(left, **options)


def test_stop_tokens_need_a_preprocessor(raw):
    with pytest.raises(ValueError, match="stop_token_ids"):
        raw.generate(random_inputs([3]), max_new_tokens=2)


@pytest.mark.parametrize("token", [-1, 2**31, 2**32 + 1])
def test_stop_tokens_that_are_none(task, token):
    with pytest.raises(ValueError, match="stop_token_ids"):
        task.generate(
            {"images": np.zeros((9, 9, 3), np.uint8), "prompts": "ocr"},
            stop_token_ids=[token],
        )


def test_preset_round_trip_finds_our_class(task, pixels, tmp_path):
    task.save_to_preset(str(tmp_path / "preset"))
    inputs = {"images": pixels, "prompts": "caption en"}
    expected = task.generate(inputs, **OPTIONS)
    for cls in (keras_hub.models.CausalLM, keras_pg2.PaliGemma2CausalLM):
        loaded = cls.from_preset(str(tmp_path / "preset"))
        assert type(loaded) is PaliGemma2CausalLM
        assert loaded.preprocessor.sequence_length == 64
        assert loaded.generate(inputs, **OPTIONS) == expected
