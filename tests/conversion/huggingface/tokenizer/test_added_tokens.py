"""Checkpoints of fine-tuners that added tokens, as transformers makes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from keras import ops
from tokenizers import AddedToken
from transformers import AutoModelForImageTextToText, AutoProcessor

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import write_model
from keras_pg2.conversion.huggingface.tokenizer.directory import read_tokenizer
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from tests.support.tiny_models import random_task

NUM_PIECES = 1552
TEXT = "detect the <act07> of a ball<act00><act01>ball two words wide, two  words"
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "model"
    return write_model(random_task(), path, "hf")


def new_tokens(num_tokens: int) -> list[str | AddedToken]:
    """Of all kinds: special or not, found before and after spaces are marks."""
    names = [f"<act{i:02d}>" for i in range(num_tokens - 1)]
    special = [AddedToken(name, normalized=False, special=True) for name in names[::2]]
    return [*special, *names[1::2], "two words"]


@pytest.fixture(scope="module")
def make(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Save a model with more tokens and random rows for them, by transformers."""

    def save(
        num_tokens: int, *, resize: bool = True, pad_to: int | None = None
    ) -> Path:
        path = tmp_path_factory.mktemp("tuned") / "model"
        model = AutoModelForImageTextToText.from_pretrained(plain)
        processor = AutoProcessor.from_pretrained(plain)
        processor.tokenizer.add_tokens(new_tokens(num_tokens))
        if resize:
            model.resize_token_embeddings(
                len(processor.tokenizer), pad_to_multiple_of=pad_to
            )
        with torch.no_grad():
            rows = model.get_input_embeddings().weight[NUM_PIECES + 1 :]
            rows.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
        model.save_pretrained(path)
        processor.save_pretrained(path)
        return path

    return save


def assert_same(path: Path, num_tokens: int) -> None:
    """Assert that ids and logits are transformers'."""
    task = PaliGemma2CausalLM.from_preset(str(path), dtype="float32")
    vocabulary_size = NUM_PIECES + 1 + num_tokens
    assert task.backbone.vocabulary_size == vocabulary_size
    assert task.preprocessor.tokenizer.vocabulary_size() == vocabulary_size
    model = AutoModelForImageTextToText.from_pretrained(
        path, attn_implementation="eager", dtype=torch.float32
    ).eval()
    processor = AutoProcessor.from_pretrained(path)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype("uint8")
    theirs = processor(images=pixels, text=f"<image>{TEXT}", return_tensors="pt")
    theirs.pop("labels", None)
    ours = task.preprocessor.generate_preprocess(
        {"images": [pixels], "prompts": [TEXT]}
    )
    token_ids = ours["token_ids"][0][ours["padding_mask"][0].astype(bool)]
    num_image_tokens = task.backbone.num_image_tokens
    assert theirs["input_ids"][0].tolist() == (
        [NUM_PIECES] * num_image_tokens + token_ids.tolist()
    )
    assert (token_ids > NUM_PIECES).sum() == 4
    with torch.no_grad():
        logits = model(**theirs).logits[0, num_image_tokens:, :vocabulary_size].numpy()
    inputs = {
        "images": ours["images"],
        "token_ids": token_ids[None],
        "padding_mask": np.ones((1, len(token_ids)), bool),
        "response_mask": np.zeros((1, len(token_ids)), bool),
    }
    mine = ops.convert_to_numpy(task(inputs))[0]
    scale = np.abs(mine).max()
    np.testing.assert_allclose(logits / scale, mine / scale, atol=1e-5)
    # A row of a token that was added can win.
    assert (mine.argmax(axis=-1) > NUM_PIECES).any()


@pytest.mark.parametrize(
    ("num_tokens", "options"),
    [(10, {}), (100, {}), (10, {"pad_to": 64}), (30, {"resize": False})],
)
def test_added_tokens_are_kept(num_tokens: int, options: dict, make: Make) -> None:
    assert_same(make(num_tokens, **options), num_tokens)


def test_all_that_is_written_keeps_them(make: Make, tmp_path: Path) -> None:
    tuned = make(12)
    wanted = dict(open_checkpoint(tuned).variables())
    source = tuned
    for to, ending in (("preset", ""), ("npz", ".npz"), ("sbs", ".sbs"), ("hf", "")):
        target = tmp_path / f"{to}{ending}"
        dtype = "float32" if to == "sbs" else None
        convert(str(source), target, to, dtype)
        checkpoint = open_checkpoint(target)
        for name, value in checkpoint.variables():
            np.testing.assert_array_equal(value, wanted[name], err_msg=f"{to} {name}")
        tokenizer = PaliGemma2Tokenizer(checkpoint.preprocessing.tokenizer)
        assert tokenizer.token_to_id("<act00>") == NUM_PIECES + 1
        source = target
    assert_same(source, 12)


def test_tokens_without_rows_are_counted(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(make(30, resize=False), path)
    content = json.loads((path / "tokenizer.json").read_text())
    last = content["added_tokens"][-1]
    for i in range(50):
        more = {**last, "id": last["id"] + 1 + i, "content": f"<more{i}>"}
        content["added_tokens"].append(more)
    (path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError,
        match=r"1633 tokens, of which 80 were added.*1616.*so 17 tokens.*resize_token",
    ):
        open_checkpoint(path)


def test_rows_of_no_token_are_padding(plain: Path, tmp_path: Path) -> None:
    """A table padded to a multiple of 128 has more rows than the hub's."""
    model = AutoModelForImageTextToText.from_pretrained(plain)
    model.resize_token_embeddings(1664)
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(plain / name, tmp_path)
    text_decoder = open_checkpoint(tmp_path).architecture["text_decoder"]
    assert text_decoder["vocabulary_size"] == NUM_PIECES


LISTS = {
    # As transformers 4 has them beside a tokenizer.model.
    "tokenizer_config.json": lambda tokens: {
        "added_tokens_decoder": {
            str(i): {"content": text, "special": False} for i, text in tokens.items()
        }
    },
    "added_tokens.json": lambda tokens: {text: i for i, text in tokens.items()},
}


@pytest.mark.parametrize("name", LISTS)
def test_tokens_beside_a_sentencepiece_model(
    name: str, plain: Path, tmp_path: Path
) -> None:
    shutil.copy(plain / "tokenizer.model", tmp_path)
    tokens = {NUM_PIECES: "<image>", 1553: "<act>", 1554: "two words"}
    (tmp_path / name).write_text(json.dumps(LISTS[name](tokens)))
    tokenizer = PaliGemma2Tokenizer(read_tokenizer(tmp_path))
    assert tokenizer.get_vocabulary()[NUM_PIECES:] == ["<image>", "<act>", "two▁words"]
    ids = tokenizer.tokenize("two words<act>").tolist()
    assert ids == [1554, 1553]
    assert tokenizer.detokenize(ids) == "two words<act>"
    # Without tokens after it, <image> stays what it was.
    (tmp_path / name).write_text(json.dumps(LISTS[name]({NUM_PIECES: "<image>"})))
    assert read_tokenizer(tmp_path) == (plain / "tokenizer.model").read_bytes()


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({300: "<act>"}, "as piece 300"),
        ({1600: "<act>"}, "ids from 1552 on"),
        ({2**31 - 1: "<act>"}, "ids from 1552 on"),
        ({1552: "<loc0000>"}, "a token once"),
    ],
)
@pytest.mark.parametrize("name", LISTS)
def test_lists_that_do_not_fit(
    name: str, tokens: dict, expected: str, plain: Path, tmp_path: Path
) -> None:
    shutil.copy(plain / "tokenizer.model", tmp_path)
    (tmp_path / name).write_text(json.dumps(LISTS[name](tokens)))
    with pytest.raises(ValueError, match=expected):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("key", ["x", "-1", "1.5", "²"])
def test_ids_that_are_none(key: str, plain: Path, tmp_path: Path) -> None:
    shutil.copy(plain / "tokenizer.model", tmp_path)
    content = {"added_tokens_decoder": {key: {"content": "a"}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="whole numbers as keys"):
        read_tokenizer(tmp_path)


def test_an_id_of_five_thousand_digits(plain: Path, tmp_path: Path) -> None:
    shutil.copy(plain / "tokenizer.model", tmp_path)
    content = {"added_tokens_decoder": {"9" * 5000: {"content": "a"}}}
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="whole numbers as keys") as error:
        read_tokenizer(tmp_path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("name", [*LISTS, "tokenizer.json"])
def test_more_tokens_than_anyone_adds(name: str, plain: Path, tmp_path: Path) -> None:
    """Refused before they are read one by one."""
    tokens = {NUM_PIECES + i: f"<{i}>" for i in range(40_000)}
    if name == "tokenizer.json":
        content = json.loads((plain / name).read_text())
        added = content["added_tokens"]
        added += [{"id": i, "content": text} for i, text in tokens.items()]
        count = len(added)
    else:
        shutil.copy(plain / "tokenizer.model", tmp_path)
        content, count = LISTS[name](tokens), 40_000
    (tmp_path / name).write_text(json.dumps(content))
    message = f"at most 32768 added tokens in .*{name}. Received: {count}"
    with pytest.raises(ValueError, match=message):
        read_tokenizer(tmp_path)


def test_a_picture_in_the_place_of_another_token(plain: Path, tmp_path: Path) -> None:
    """transformers fails on every picture, as its processor writes `<image>`."""
    path = tmp_path / "model"
    shutil.copytree(plain, path)
    config = json.loads((path / "config.json").read_text())
    config["image_token_index"] = 5
    (path / "config.json").write_text(json.dumps(config))
    model = AutoModelForImageTextToText.from_pretrained(path)
    pixels = np.zeros((28, 28, 3), "uint8")
    processor = AutoProcessor.from_pretrained(path)
    theirs = processor(images=pixels, text="<image>a ball", return_tensors="pt")
    with pytest.raises(ValueError, match="image tokens do not match"):
        model(**theirs)
    with pytest.raises(ValueError, match="image_token_index") as error:
        open_checkpoint(path, with_weights=False)
    for words in ("config.json as 1552", "tokenizer", "Received: 5"):
        assert words in str(error.value)
    (path / "tokenizer.model").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"<image> in .*tokenizer\S*\.json"):
        open_checkpoint(path, with_weights=False)


def test_files_that_contradict_each_other(plain: Path, tmp_path: Path) -> None:
    shutil.copy(plain / "tokenizer.json", tmp_path)
    content = LISTS["tokenizer_config.json"]({NUM_PIECES: "<picture>"})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Expected one token of id 1552"):
        read_tokenizer(tmp_path)


def test_json_with_other_pieces_is_taken(plain: Path, tmp_path: Path) -> None:
    """As by transformers, which does not look at a stale tokenizer.model."""
    for name in ("tokenizer.model", "tokenizer.json"):
        shutil.copy(plain / name, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = PaliGemma2Tokenizer(read_tokenizer(tmp_path))
    assert tokenizer.token_to_id("a") == vocabulary["a"]
    assert tokenizer.tokenize("\x00b").tolist()[-1] == vocabulary["b"]
