from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.examples import normalize_examples

PICTURE = np.zeros((8, 6, 3), np.uint8)


def test_text_alone():
    assert normalize_examples("ocr") == (None, ["ocr"], None, False)
    assert normalize_examples(["ocr", "b"]) == (None, ["ocr", "b"], None, True)
    assert normalize_examples({"prompts": ("a",), "images": None}) == (
        None,
        ["a"],
        None,
        True,
    )


@pytest.mark.parametrize("prompts", [np.array(["a", "b"]), [b"a", "b"]])
def test_texts_of_other_kinds(prompts):
    examples = normalize_examples({"prompts": prompts, "responses": ["c", "d"]})
    assert examples.prompts == ["a", "b"]
    assert examples.responses == ["c", "d"]


def test_scalar_or_list_follows_from_the_prompts_only():
    for prompts, is_batched in (("a", False), (["a"], True)):
        for images in (PICTURE, [PICTURE]):
            pairs = [("images", images), ("prompts", prompts)]
            for order in (pairs, pairs[::-1]):
                assert normalize_examples(dict(order)).is_batched is is_batched


def test_the_caller_keeps_his_dict():
    inputs = {"images": [PICTURE], "prompts": "a", "responses": "b"}
    before = copy.deepcopy(inputs)
    assert normalize_examples(inputs) == normalize_examples(inputs)
    assert list(inputs) == list(before)
    assert inputs["prompts"] == "a"
    assert inputs["responses"] == "b"
    assert inputs["images"][0] is PICTURE


@pytest.mark.parametrize(
    "image", [PICTURE, Image.fromarray(PICTURE), "a.png", Path("a.png")]
)
def test_one_picture_several_prompts(image):
    examples = normalize_examples({"images": image, "prompts": ["a", "b"]})
    assert len(examples.images) == 2
    assert all(entry is image for entry in examples.images)


def test_pictures_of_a_batch_and_of_one_example():
    batch = np.zeros((2, 8, 6, 3), np.uint8)
    assert len(normalize_examples({"images": batch, "prompts": ["a", "b"]}).images) == 2
    [entry] = normalize_examples({"images": batch, "prompts": "a"}).images
    assert len(entry) == 2
    several = normalize_examples({"images": batch[None], "prompts": ["a"]}).images
    assert [len(entry) for entry in several] == [2]
    nested = normalize_examples(
        {"images": [["a.png", PICTURE], ("b.png", "c.png")], "prompts": ["a", "b"]}
    ).images
    assert [len(entry) for entry in nested] == [2, 2]


def test_a_picture_and_a_list_of_one_are_as_many():
    images = ["a.png", ["b.png"], PICTURE[None], PICTURE]
    found = normalize_examples({"images": images, "prompts": ["a"] * 4}).images
    assert [len(entry) for entry in found] == [1] * 4
    assert found[0] == ["a.png"]
    assert found[2][0].shape == found[3][0].shape == PICTURE.shape


@pytest.mark.parametrize("prompts", [3, None, [3], ["a", 1.5], {"a": 1}, np.zeros(2)])
def test_a_prompt_that_is_no_text(prompts):
    error = ValueError if prompts is None else TypeError
    with pytest.raises(error, match="Expected prompts as text") as caught:
        normalize_examples({"prompts": prompts, "images": PICTURE})
    assert "received only" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("answer en \ud83d?", r"valid Unicode text, received 'answer en \\ud83d\?'"),
        (b"ocr \xff", r"UTF-8 bytes, received b'ocr \\xff'.* at byte 4\."),
        ("a" * 5000 + "\udc00", r"received 'a{20}\\udc00'.* at index 5000\."),
    ],
)
@pytest.mark.parametrize("key", ["prompts", "responses"])
def test_texts_that_are_not_unicode(text, message, key):
    texts = {"prompts": "a", "responses": "b"}
    with pytest.raises(ValueError, match=f"Expected {key} as .*{message}") as caught:
        normalize_examples({**texts, key: text})
    assert type(caught.value) is ValueError
    lists = {name: ["a", text if name == key else "b"] for name in texts}
    with pytest.raises(ValueError, match="at position 1"):
        normalize_examples(lists)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"images": PICTURE}, "the key 'prompts'.*received only 'images'"),
        ({"prompts": "a", "image": PICTURE}, "received 'image'"),
        ({"prompts": []}, "at least one prompt"),
        ({"prompts": "<image>caption en"}, "a prompt without '<image>'"),
        ({"prompts": ["a", "<bos>caption en"]}, "a prompt without '<bos>'"),
        ({"prompts": "caption en<eos>"}, "a prompt without '<eos>'"),
        ({"prompts": "a", "responses": "b<eos>"}, "a response without '<eos>'"),
        ({"prompts": "a", "responses": "<pad>"}, "a response without '<pad>'"),
        ({"prompts": ["a", "b"], "responses": ["c"]}, "2 prompts and 1 responses"),
        ({"prompts": ["a"], "responses": "c"}, "both as lists"),
        ({"prompts": ["a", "b"], "images": [PICTURE]}, "received 1 for 2 prompts"),
        ({"prompts": ["a", "b"], "images": [PICTURE, None]}, "None at position 1"),
        (
            {"prompts": ["a", "b", "c"], "images": ["a.png", "b.png", ["c", "d"]]},
            "received 1 at position 0 and 2 at position 2",
        ),
    ],
)
def test_inputs_that_do_not_fit_together(inputs, message):
    with pytest.raises(ValueError, match=message):
        normalize_examples(inputs)
