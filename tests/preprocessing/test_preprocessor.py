from __future__ import annotations

import json

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer

pytestmark = pytest.mark.every_backend

PAD, EOS, BOS = 0, 1, 2


def levels(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)


PICTURE = levels(20, 30, 3)


@pytest.fixture
def preprocessor(tokenizer, image_converter) -> PaliGemma2CausalLMPreprocessor:
    return PaliGemma2CausalLMPreprocessor(tokenizer, image_converter, 12)


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer.tokenize([text])[0]


def test_layout_by_hand(preprocessor, tokenizer):
    # Location pieces are single tokens, so each letter below is one id.
    a, b, c, d = list(tokenizer.location_ids[:4])
    newline = tokenizer.separator_id
    x, y, sample_weight = preprocessor(
        {
            "images": [PICTURE, PICTURE],
            "prompts": ["<loc0000><loc0001>", "<loc0000>"],
            "responses": ["<loc0002><loc0003>", ""],
        },
        sequence_length=7,
    )
    assert x["token_ids"].tolist() == [
        [BOS, a, b, newline, c, d, EOS],
        [BOS, a, newline, EOS, PAD, PAD, PAD],
    ]
    assert x["padding_mask"].astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 0, 0],
    ]
    assert x["response_mask"].astype(int).tolist() == [
        [0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 0, 0, 0],
    ]
    assert y.tolist() == [
        [a, b, newline, c, d, EOS, PAD],
        [a, newline, EOS, PAD, PAD, PAD, PAD],
    ]
    assert sample_weight.tolist() == [[0, 0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0, 0]]
    assert x["images"].shape == (2, 28, 28, 3)
    kinds = {key: value.dtype for key, value in x.items()}
    assert kinds["token_ids"] == y.dtype == np.int32
    assert kinds["padding_mask"] == kinds["response_mask"] == np.dtype("bool")
    assert kinds["images"] == sample_weight.dtype == np.float32


def test_one_example_has_no_batch_axis(preprocessor):
    inputs = {"images": PICTURE, "prompts": "caption en", "responses": "a dog"}
    x, y, sample_weight = preprocessor(inputs)
    assert {key: value.shape for key, value in x.items()} == {
        "images": (28, 28, 3),
        "token_ids": (12,),
        "padding_mask": (12,),
        "response_mask": (12,),
    }
    assert y.shape == sample_weight.shape == (12,)
    batch = preprocessor({key: [value] for key, value in inputs.items()})
    np.testing.assert_array_equal(batch[1][0], y)


def hugging_face_processor(proto: bytes, tmp_path):
    """PaliGemma's processor of transformers over the same vocabulary."""
    import tokenizers
    import transformers
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    path = tmp_path / "vocabulary.spm"
    path.write_bytes(proto)
    extractor = SentencePieceExtractor(str(path))
    parts = extractor.extract(tokenizers.models.BPE)
    tokenizer = transformers.GemmaTokenizer(
        vocab=parts["vocab"],
        merges=parts["merges"],
        additional_special_tokens=["\n", "\n\n"],
    )
    import transformers.models.siglip.image_processing_pil_siglip as pil

    images = pil.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    return transformers.PaliGemmaProcessor(images, tokenizer)


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("caption en", "a small dog on the green grass"),
        ("answer en what is the colour of the ball?", "blue"),
        ("detect cat ; dog", "<loc0001><loc0020><loc0300><loc1023> cat ; <seg007>"),
        ("describe en", "ein Hund, 日本"),
        ("", "x"),
    ],
)
def test_same_arrays_as_transformers(preprocessor, proto, tmp_path, prompt, response):
    processor = hugging_face_processor(proto, tmp_path)
    theirs = processor(
        images=Image.fromarray(PICTURE),
        text="<image>" + prompt,
        suffix=response,
        return_tensors="np",
    )
    [input_ids], [labels] = theirs["input_ids"], theirs["labels"]
    assert (input_ids[:4] == processor.image_token_id).all()
    text_ids = input_ids[4:].tolist()
    x, y, sample_weight = preprocessor(
        {"images": PICTURE, "prompts": prompt, "responses": response},
        sequence_length=len(text_ids),
    )
    assert x["token_ids"].tolist() == text_ids
    assert y[sample_weight > 0].tolist() == labels[labels != -100].tolist()
    pixels = np.moveaxis(theirs["pixel_values"][0], 0, -1)
    np.testing.assert_array_equal(x["images"], pixels)
    # Prefixes for generation have no suffix.
    theirs = processor(
        images=Image.fromarray(PICTURE), text="<image>" + prompt, return_tensors="np"
    )
    ours = preprocessor.generate_preprocess({"images": PICTURE, "prompts": prompt})
    assert ours["token_ids"].tolist() == theirs["input_ids"][:, 4:].tolist()


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        *(("", "\n"), ("", "\r\n"), ("", "\n\n"), ("", " "), ("", "\t"), ("", " \n ")),
        *(("", "\u00a0"), ("", "\u3000"), (" ", ""), ("\n", "\n")),
        *(("\ufeff", ""), ("", "\u200b"), ("\u200e", " \u2060\n"), ("", "\u2028")),
    ],
)
def test_what_is_not_seen_around_a_prompt_changes_nothing(
    preprocessor, tokenizer, before, behind
):
    prompt = f"{before}caption en{behind}"
    rows = preprocessor.generate_preprocess(prompt)["token_ids"].tolist()
    assert rows == [[BOS, *ids(tokenizer, "caption en\n")]]
    x, _, _ = preprocessor({"prompts": prompt, "responses": "a"})
    plain, _, _ = preprocessor({"prompts": "caption en", "responses": "a"})
    assert x["token_ids"].tolist() == plain["token_ids"].tolist()


@pytest.mark.parametrize("ending", ["\\n", "\\r\\n", " \\n", "\\n\n", "\\n \\n "])
def test_a_newline_typed_as_two_letters_is_left_out_and_told(
    preprocessor, tokenizer, ending
):
    """As KerasHub's guides write it, where a shell takes it literally."""
    with pytest.warns(UserWarning, match="a backslash and the letter n"):
        rows = preprocessor.generate_preprocess("caption en" + ending)["token_ids"]
    assert rows.tolist() == [[BOS, *ids(tokenizer, "caption en\n")]]


@pytest.mark.parametrize("prompt", ["C:\\new\\n.txt", "a\\", "n", "a  b", ""])
def test_a_clean_prompt_has_its_own_tokens(preprocessor, tokenizer, prompt):
    rows = preprocessor.generate_preprocess(prompt)["token_ids"].tolist()
    assert rows == [[BOS, *ids(tokenizer, prompt), tokenizer.separator_id]]


def test_without_a_separator_prompts_are_taken_as_they_are(tokenizer):
    raw = PaliGemma2CausalLMPreprocessor(tokenizer, separator="")
    rows = raw.generate_preprocess(" caption en \\n")["token_ids"].tolist()
    assert rows == [[BOS, *ids(tokenizer, " caption en \\n")]]
    colon = PaliGemma2CausalLMPreprocessor(tokenizer, separator=":")
    rows = colon.generate_preprocess("caption en ::")["token_ids"].tolist()
    assert rows == [[BOS, *ids(tokenizer, "caption en :"), *ids(tokenizer, ":")]]


def test_the_separator_never_merges(preprocessor, tokenizer):
    """The vocabulary has a piece for two newlines, and the response starts with one."""
    x, _, _ = preprocessor({"prompts": "ocr", "responses": "\nA"})
    expected = [BOS, *ids(tokenizer, "ocr"), *[tokenizer.separator_id] * 2]
    assert x["token_ids"][: len(expected)].tolist() == expected


def test_a_prompt_is_never_cut(preprocessor):
    inputs = {"prompts": ["ocr", "<loc0001>" * 11], "responses": ["a", "b"]}
    with pytest.raises(ValueError, match=r"at most 12 tokens.*13 tokens in row 1"):
        preprocessor(inputs)
    with pytest.warns(UserWarning, match="did not fit"):  # Its eos.
        x, _, _ = preprocessor({"prompts": "<loc0001>" * 10, "responses": "<loc0002>"})
    assert x["padding_mask"].all()
    with pytest.raises(ValueError, match="at most 3 tokens"):
        preprocessor.generate_preprocess("<loc0001><loc0002>", sequence_length=3)


def test_a_cut_response_has_no_end_token_and_is_counted(preprocessor, recwarn):
    def labels_of(num_tokens: int) -> list[int]:
        response = "<loc0002>" * num_tokens
        _, y, weight = preprocessor({"prompts": "<loc0001>", "responses": response})
        return y[weight > 0].tolist()

    # 12 inputs and the label after the last: 13, of which three are the prompt's.
    whole = labels_of(9)
    assert len(whole) == 10
    assert whole[-1] == EOS
    assert preprocessor.num_cut_responses == 0
    assert not recwarn
    with pytest.warns(UserWarning, match="received 1 that did not fit"):
        cut = labels_of(10)
    assert len(cut) == 10
    assert EOS not in cut
    assert preprocessor.num_cut_responses == 1
    recwarn.clear()
    assert EOS not in labels_of(30)
    assert preprocessor.num_cut_responses == 2
    assert not recwarn


def test_weights_of_examples(preprocessor):
    inputs = {"prompts": ["a", "b"], "responses": ["c", "d"]}
    _, _, plain = preprocessor(inputs)
    _, _, weighted = preprocessor(inputs, sample_weight=np.array([0.5, 2.0]))
    np.testing.assert_array_equal(weighted, plain * [[0.5], [2]])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5], r"shape \(2,\)\. Received: shape \(1,\)"),
        ([[0.5], [2.0]], r"shape \(2,\)\. Received: shape \(2, 1\)"),
        ([0.5, -2.0], r">= 0\. Received: -2\.0"),
        ([np.inf, 0.5], r"finite .*inf"),
    ],
)
def test_wrong_weights(preprocessor, weights, message):
    inputs = {"prompts": ["a", "b"], "responses": ["c", "d"]}
    with pytest.raises(ValueError, match=message):
        preprocessor(inputs, sample_weight=weights)


def test_text_alone_and_several_images(preprocessor):
    pair = {"prompts": ["a", "b"], "responses": ["c", "d"]}
    assert preprocessor(pair)[0]["images"].shape == (2, 0, 28, 28, 3)
    several = levels(2, 3, 9, 9, 3)
    x, _, _ = preprocessor({**pair, "images": several})
    assert x["images"].shape == (2, 3, 28, 28, 3)
    one = {"prompts": "a", "responses": "c"}
    assert preprocessor(one)[0]["images"].shape == (0, 28, 28, 3)
    x, _, _ = preprocessor({**one, "images": [PICTURE, "a.png"][:1] * 3})
    assert x["images"].shape == (3, 28, 28, 3)


def test_one_picture_and_several_prompts(preprocessor, image_converter):
    arrays = preprocessor.generate_preprocess(
        {"images": PICTURE, "prompts": ["ocr", "caption en", "a"]}
    )
    expected = image_converter(PICTURE)
    assert arrays["images"].shape == (3, 28, 28, 3)
    for image in arrays["images"]:
        np.testing.assert_array_equal(image, expected)


def test_generation_is_padded_to_the_longest_prompt_only(preprocessor, tokenizer):
    arrays = preprocessor.generate_preprocess(["<loc0000>", "<loc0000><loc0001>"])
    a, b = list(tokenizer.location_ids[:2])
    newline = tokenizer.separator_id
    assert arrays["token_ids"].tolist() == [
        [BOS, a, newline, PAD],
        [BOS, a, b, newline],
    ]
    assert arrays["padding_mask"].astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert not arrays["response_mask"].any()
    assert arrays["images"].shape == (2, 0, 28, 28, 3)


def test_a_given_length_leaves_room_for_the_answer(preprocessor):
    prompts = ["<loc0000>", "<loc0000><loc0001>"]
    short = preprocessor.generate_preprocess(prompts)
    padded = preprocessor.generate_preprocess(prompts, sequence_length=9)
    for name, value in (("token_ids", PAD), ("padding_mask", 0), ("response_mask", 0)):
        assert padded[name].shape == (2, 9)
        np.testing.assert_array_equal(padded[name][:, :4], short[name])
        assert (padded[name][:, 4:] == value).all()


def test_forced_beginning_of_an_answer(preprocessor, tokenizer):
    arrays = preprocessor.generate_preprocess(
        {"prompts": ["<loc0000>", "<loc0000>"], "responses": ["<loc0003>", ""]}
    )
    a, d = tokenizer.location_ids[0], tokenizer.location_ids[3]
    newline = tokenizer.separator_id
    assert arrays["token_ids"].tolist() == [
        [BOS, a, newline, d],
        [BOS, a, newline, PAD],
    ]
    assert arrays["response_mask"].astype(int).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_postprocess_drops_special_tokens_and_keeps_locations(preprocessor, tokenizer):
    text = "<loc0001><seg002> cat ; dog\n"
    tokens = [BOS, *ids(tokenizer, text), EOS, PAD, 10_000_000, 5]
    mask = [True] * (len(tokens) - 1) + [False]
    arrays = {
        "token_ids": keras.ops.convert_to_tensor([tokens, tokens]),
        "padding_mask": keras.ops.convert_to_tensor([mask, [False] * len(tokens)]),
    }
    assert preprocessor.generate_postprocess(arrays) == [text, ""]


def test_prompts_come_back(preprocessor):
    prompts = ["detect cat ; dog", "zwei  Hunde", "日本"]
    arrays = preprocessor.generate_preprocess(prompts)
    texts = preprocessor.generate_postprocess(arrays)
    assert texts == [prompt + "\n" for prompt in prompts]


def test_without_separator_start_and_end(tokenizer):
    preprocessor = PaliGemma2CausalLMPreprocessor(
        tokenizer,
        sequence_length=3,
        separator="",
        add_start_token=False,
        add_end_token=False,
    )
    x, _, _ = preprocessor({"prompts": "<loc0000>", "responses": "<loc0001>"})
    assert x["token_ids"].tolist() == [*tokenizer.location_ids[:2], PAD]


def test_without_converter_images_are_taken_as_they_are(tokenizer):
    preprocessor = PaliGemma2CausalLMPreprocessor(tokenizer, sequence_length=8)
    ready = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 3))
    arrays = preprocessor.generate_preprocess({"images": ready, "prompts": ["a", "b"]})
    np.testing.assert_array_equal(arrays["images"], ready.astype("float32"))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ({"prompts": "a"}, ValueError, "the key 'responses'"),
        ({"responses": "a"}, ValueError, "the key 'prompts'"),
        ({"prompts": 3, "responses": "a"}, TypeError, "prompts as text"),
        ({"prompts": "a", "responses": 3}, TypeError, "responses as text"),
        ("a", TypeError, "Expected a dict"),
    ],
)
def test_wrong_inputs(preprocessor, x, error, message):
    with pytest.raises(error, match=message):
        preprocessor(x)


@pytest.mark.parametrize(
    ("images", "error", "start"),
    [
        ("nowhere.png", FileNotFoundError, "Expected an image file, but 'nowhere.png'"),
        (np.zeros((5, 5, 2), np.uint8), ValueError, "Expected image 0 as an array"),
        (3, TypeError, "Expected image 0 to be a path"),
    ],
)
def test_errors_of_generation_are_our_own(preprocessor, images, error, start):
    with pytest.raises(error) as caught:
        preprocessor.generate_preprocess({"images": images, "prompts": "ocr"})
    assert type(caught.value) is error
    assert str(caught.value).startswith(start)
    assert "Exception encountered" not in str(caught.value)
    assert "Arguments received" not in str(caught.value)


def test_a_converter_of_another_class(tokenizer):
    other = keras_hub.layers.ImageConverter(image_size=(28, 28))
    with pytest.raises(TypeError, match=r"ImageConverter or None, received"):
        PaliGemma2CausalLMPreprocessor(tokenizer, other)


def test_labels_are_made_here(preprocessor):
    with pytest.raises(ValueError, match="Expected y=None"):
        preprocessor({"prompts": "a", "responses": "b"}, y=[1])


def test_the_same_inside_tf_data(tf, preprocessor, tmp_path):
    preprocessor.sequence_length = 24
    paths = []
    for i in range(4):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(levels(20 + i, 30, 3)).save(paths[-1])
    rows = {
        "images": paths,
        "prompts": ["caption en\n", "detect dog", "ocr", "日本"],
        "responses": ["a dog", "<loc0001><seg002> dog", "", "ü"],
    }
    expected = preprocessor(rows)
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    [alone_then_batched] = dataset.map(preprocessor).batch(4)
    [batched] = dataset.batch(4, drop_remainder=True).map(preprocessor)
    for received in (alone_then_batched, batched):
        keras.tree.map_structure(np.testing.assert_array_equal, expected, received)
    assert batched[0]["token_ids"].shape == (4, 24)
    assert batched[2].dtype == tf.float32


def test_text_alone_and_weights_inside_tf_data(tf, preprocessor):
    rows = {"prompts": ["a", "b"], "responses": ["c", "d"]}
    weight = np.array([0.5, 2.0], np.float32)
    dataset = tf.data.Dataset.from_tensors((rows, weight))
    [received] = dataset.map(lambda x, w: preprocessor(x, sample_weight=w))
    expected = preprocessor(rows, sample_weight=weight)
    keras.tree.map_structure(np.testing.assert_array_equal, expected, received)
    wrong = tf.data.Dataset.from_tensors((rows, -weight))
    with pytest.raises(tf.errors.InvalidArgumentError, match="weights as finite"):
        list(wrong.map(lambda x, w: preprocessor(x, sample_weight=w)))


def test_errors_and_counts_inside_tf_data(tf, preprocessor):

    def run(**rows: list[str]) -> None:
        list(tf.data.Dataset.from_tensors(rows).map(preprocessor))

    with pytest.raises(ValueError, match="the key 'responses'"):
        run(prompts=["a"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="tokens in row 1"):
        run(prompts=["a", "<loc0001>" * 20], responses=["a", "b"])
    with pytest.warns(UserWarning, match="received 2 that did not fit"):
        run(prompts=["a", "b"], responses=["<loc0001>" * 20] * 2)
    assert preprocessor.num_cut_responses == 2


def test_config_comes_back(preprocessor):
    preprocessor.separator = "|"
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(preprocessor)))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again.tokenizer, PaliGemma2Tokenizer)
    assert isinstance(again.image_converter, PaliGemma2ImageConverter)
    assert again.image_converter.image_size == (28, 28)
    assert (again.sequence_length, again.separator) == (12, "|")


def test_preset_comes_back(preprocessor, tmp_path):
    directory = tmp_path / "preset"
    directory.mkdir()
    preprocessor.save_to_preset(str(directory))
    names = {"preprocessor.json", "tokenizer.json", "image_converter.json"}
    assert names <= {path.name for path in directory.iterdir()}
    registered = "keras_pg2>PaliGemma2Backbone"
    (directory / "config.json").write_text(json.dumps({"registered_name": registered}))
    again = keras_hub.models.CausalLMPreprocessor.from_preset(str(directory))
    assert type(again) is PaliGemma2CausalLMPreprocessor
    rows = {"images": PICTURE, "prompts": "caption en", "responses": "a dog"}
    keras.tree.map_structure(
        np.testing.assert_array_equal, preprocessor(rows), again(rows)
    )
    (directory / "preprocessor.json").unlink()  # As in KerasHub's own presets.
    bare = keras_hub.models.CausalLMPreprocessor.from_preset(str(directory))
    assert type(bare) is PaliGemma2CausalLMPreprocessor
    assert bare.image_converter.image_size == (28, 28)
