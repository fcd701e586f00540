"""Damaged tokenizers: each loads with the library's ids, or is a named error."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from keras_pg2.conversion.huggingface.tokenizer.directory import read_tokenizer
from keras_pg2.conversion.huggingface.tokenizer.to_json import to_tokenizer_json
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from tests.support.tiny_vocabulary import SENTENCES, gemma_like_proto

Content = dict[str, Any]
LOADS = "loads with the same ids"
TEXTS = (*SENTENCES, "\t\t a\tb \n\n\n", "é😀\x00 <loc0003><seg007>", "word ab")


@pytest.fixture(scope="module")
def content() -> Content:
    return to_tokenizer_json(gemma_like_proto())


def at(*names: Any, value: Any) -> Callable[[Content], None]:
    """Return a change of one field."""

    def change(content: Content) -> None:
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return change


def without(*names: Any) -> Callable[[Content], None]:
    """Return a change that removes a field."""

    def change(content: Content) -> None:
        for name in names[:-1]:
            content = content[name]
        del content[names[-1]]

    return change


def piece(old: str, new: str) -> Callable[[Content], None]:
    """Return a change of the text of a piece, in the vocabulary alone."""

    def change(content: Content) -> None:
        vocabulary = content["model"]["vocab"]
        vocabulary[new] = vocabulary.pop(old)

    return change


def added(**fields: Any) -> Callable[[Content], None]:
    """Return a change that lists one more added token, after `<image>`."""

    def change(content: Content) -> None:
        token = {**content["added_tokens"][-1], "id": 1553, "special": False, **fields}
        content["added_tokens"].append(token)

    return change


def merged(*pair: Any) -> Callable[[Content], None]:
    return lambda content: content["model"]["merges"].append(list(pair))


def swapped_merges(content: Content) -> None:
    content["model"]["merges"][0] = content["model"]["merges"][-1]


def two_of_one_id(content: Content) -> None:
    content["model"]["vocab"]["caption!"] = 300


SPLIT = {"type": "Split", "pattern": {"String": " "}, "invert": False}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
WITH_BOS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, TEXT],
    "pair": [TEXT, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}

JSON_CASES: dict[str, tuple[Callable[[Content], None], str]] = {
    # The model.
    "no model": (without("model"), "Expected model in"),
    "model null": (at("model", value=None), "Expected model in"),
    "model a list": (at("model", value=[]), "Expected model in"),
    "another type": (at("model", "type", value="Unigram"), "byte-pair encoding"),
    "type a number": (at("model", "type", value=1), "byte-pair encoding"),
    "no type": (without("model", "type"), "byte-pair encoding"),
    "dropout": (at("model", "dropout", value=0.1), "model.dropout"),
    "dropout 0": (at("model", "dropout", value=0.0), LOADS),
    "dropout text": (at("model", "dropout", value="0"), "model.dropout"),
    "prefix": (
        at("model", "continuing_subword_prefix", value="##"),
        "model.continuing_subword_prefix",
    ),
    "empty prefix": (at("model", "continuing_subword_prefix", value=""), LOADS),
    "suffix": (at("model", "end_of_word_suffix", value="</w>"), "end_of_word_suffix"),
    "no fallback": (at("model", "byte_fallback", value=False), "model.byte_fallback"),
    "fallback 1": (at("model", "byte_fallback", value=1), "model.byte_fallback"),
    "fallback absent": (without("model", "byte_fallback"), "model.byte_fallback"),
    "ignore merges": (at("model", "ignore_merges", value=True), "model.ignore_merges"),
    "unknown absent": (at("model", "unk_token", value="<none>"), "unk_token"),
    "unknown null": (at("model", "unk_token", value=None), LOADS),
    "unknown a number": (at("model", "unk_token", value=3), "model.unk_token"),
    # The vocabulary.
    "no vocab": (without("model", "vocab"), "Expected model.vocab"),
    "vocab a list": (at("model", "vocab", value=["a"]), "Expected model.vocab"),
    "vocab empty": (at("model", "vocab", value={}), "Expected a token for each"),
    "id below 0": (at("model", "vocab", "new", value=-1), "model.vocab.new"),
    "id 2**31": (at("model", "vocab", "new", value=2**31), "model.vocab.new"),
    "id far away": (at("model", "vocab", "new", value=2**31 - 1), "2147483648 ids"),
    "id a text": (at("model", "vocab", "new", value="7"), "model.vocab.new"),
    "id a float": (at("model", "vocab", "new", value=7.0), "model.vocab.new"),
    "id true": (at("model", "vocab", "new", value=True), "model.vocab.new"),
    "id null": (at("model", "vocab", "new", value=None), "model.vocab.new"),
    "id twice": (two_of_one_id, "Received: 300 for"),
    "id missing": (without("model", "vocab", "▁the"), "model.merges|none for 1"),
    "letter missing": (without("model", "vocab", "z"), "model.merges|none for 1"),
    "byte missing": (without("model", "vocab", "<0x41>"), "none for 1 of them"),
    "byte renamed": (piece("<0x41>", "<0xZZ>"), "the first <0x41>"),
    "tab and its byte renamed": (piece("\t", "tab"), "the first <0x09>"),
    "tab as a byte": (piece("\t", "<0x09>"), LOADS),
    "empty piece": (piece("<0x41>", ""), "of 256 bytes"),
    "surrogate": (at("model", "vocab", "\ud800", value=1553), r"\\ud800"),
    "NUL": (at("model", "vocab", "a\0b", value=1553), r"\\x00"),
    # The merges.
    "no merges": (without("model", "merges"), "Expected model.merges"),
    "merges empty": (at("model", "merges", value=[]), "to join all pieces"),
    "merges a table": (at("model", "merges", value={}), "Expected model.merges"),
    "merge of one": (merged("a"), "as a pair of texts"),
    "merge of three": (merged("a", "b", "c"), "as a pair of texts"),
    "merge of numbers": (merged(1, 2), "as a pair of texts"),
    "merge of nothing": (merged("", "a"), "as a pair of texts"),
    "merge null": (lambda c: c["model"]["merges"].append(None), "a pair of texts"),
    "merge of a text": (lambda c: c["model"]["merges"].append("a"), "a pair of texts"),
    "merge of three in a text": (
        lambda c: c["model"]["merges"].append("a b c"),
        "a pair of texts",
    ),
    "merge of no piece": (merged("nosuch", "a"), "a piece is not there"),
    "merge to no piece": (merged("z", "z"), "a piece is not there"),
    "merge twice": (
        lambda c: c["model"]["merges"].append(c["model"]["merges"][0]),
        "each pair once",
    ),
    "merge lost": (without("model", "merges", 3), "to join all pieces"),
    "merge replaced": (swapped_merges, "each pair once|to join all pieces"),
    # What is done to a text before and after.
    "no normalizer": (at("normalizer", value=None), "Expected normalizer"),
    "lowercase": (at("normalizer", value={"type": "Lowercase"}), "Expected normalizer"),
    "normalizer a text": (at("normalizer", value="Replace"), "Expected normalizer"),
    "another mark": (at("normalizer", "content", value="_"), "Expected normalizer"),
    "normalizer in a sequence": (
        at("normalizer", value={"type": "Sequence", "normalizers": [REPLACE]}),
        LOADS,
    ),
    "two normalizers": (
        at("normalizer", value={"type": "Sequence", "normalizers": [REPLACE] * 2}),
        "Expected normalizer",
    ),
    "no pre-tokenizer": (at("pre_tokenizer", value=None), LOADS),
    "another behavior": (
        at("pre_tokenizer", value={**SPLIT, "behavior": "Removed"}),
        LOADS,
    ),
    "split inverted": (
        at("pre_tokenizer", value={**SPLIT, "behavior": "Removed", "invert": True}),
        "Expected pre_tokenizer",
    ),
    "whitespace": (
        at("pre_tokenizer", value={"type": "Whitespace"}),
        "Expected pre_tokenizer",
    ),
    "digits": (
        at("pre_tokenizer", value={"type": "Digits", "individual_digits": True}),
        "Expected pre_tokenizer",
    ),
    "no decoder": (at("decoder", value=None), "Expected decoder"),
    "byte level": (at("decoder", value={"type": "ByteLevel"}), "Expected decoder"),
    "no post-processor": (at("post_processor", value=None), LOADS),
    "<bos> before the text": (at("post_processor", value=WITH_BOS), LOADS),
    "the text twice": (
        at("post_processor", "single", value=[TEXT, TEXT]),
        "Expected post_processor",
    ),
    "a template of a text": (
        at("post_processor", "single", value="$A"),
        "Expected post_processor",
    ),
    "byte level after": (
        at("post_processor", value={"type": "ByteLevel"}),
        "Expected post_processor",
    ),
    # Added tokens.
    "added a table": (at("added_tokens", value={}), "Expected added_tokens"),
    "added null": (at("added_tokens", 0, value=None), "Expected added_tokens.0"),
    "added without id": (without("added_tokens", 0, "id"), "added_tokens.0.id"),
    "added id text": (at("added_tokens", 0, "id", value="0"), "added_tokens.0.id"),
    "added id below 0": (at("added_tokens", 0, "id", value=-1), "added_tokens.0.id"),
    "added id 2**31": (at("added_tokens", 0, "id", value=2**31), "added_tokens.0.id"),
    "added id wrong": (at("added_tokens", 0, "id", value=77), "ids of their own"),
    "added content": (at("added_tokens", 0, "content", value="x"), "ids of their own"),
    "added content null": (
        at("added_tokens", 0, "content", value=None),
        "added_tokens.0.content",
    ),
    "added empty": (added(content=""), r"added_tokens\.\d+\.content"),
    "added flag text": (added(content="<x>", special="no"), r"\d\.special"),
    "added with a gap": (added(content="<x>", id=1600), "none for 47 of them"),
    "added far away": (added(content="<x>", id=2**31 - 1), "2147483648 ids"),
    "added a byte": (added(content="<0x41>", id=75), "Expected no byte|own"),
    "added and stripped": (added(content="x1", lstrip=True), "without single_word"),
    "added as a word": (added(content="x1", single_word=True), "without single_word"),
    "added twice": (added(content="<loc0000>"), "ids of their own"),
    "added that overlaps": (
        added(content="x<loc00", normalized=True),
        "do not overlap",
    ),
    "added that is hidden": (
        added(content="x\ny", normalized=True),
        "do not overlap",
    ),
    "added piece": (added(content="▁the", id=None), LOADS),
    "added that begins another": (
        added(content="x<loc0012", normalized=True),
        "do not overlap",
    ),
    "added and endless": (
        added(content="<x>" * 100_000, normalized=True),
        "ordinary lengths",
    ),
    "an endless piece": (
        at("model", "vocab", "z" * 100_000, value=1553),
        "ids of their own|ordinary lengths",
    ),
    "no added tokens": (at("added_tokens", value=None), "Expected added_tokens"),
}


@pytest.mark.parametrize("case", JSON_CASES)
def test_damaged_json(case: str, content: Content, tmp_path: Path) -> None:
    change, expected = JSON_CASES[case]
    damaged = copy.deepcopy(content)
    change(damaged)
    for token in damaged["added_tokens"] if case == "added piece" else ():
        if token["id"] is None:
            token["id"] = damaged["model"]["vocab"][token["content"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(damaged))
    if expected != LOADS:
        with pytest.raises(ValueError, match=expected) as caught:
            read_tokenizer(tmp_path)
        assert str(path) in str(caught.value)
        return
    tokenizer = PaliGemma2Tokenizer(read_tokenizer(tmp_path))
    library = Tokenizer.from_file(str(path))
    for text in TEXTS:
        ids = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.tokenize(text).tolist() == ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Expected JSON"),
        ("{", "Expected JSON"),
        ("[]", "Expected a JSON object"),
        ("[" * 100_000, "Expected JSON"),
        ("null", "Expected a JSON object"),
        ("{}", "Expected model in"),
        (
            '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}',
            "byte_fallback",
        ),
    ],
)
def test_json_that_is_none(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=expected) as caught:
        read_tokenizer(tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(caught.value)


def test_merges_that_mix_are_told(content: Content, tmp_path: Path) -> None:
    damaged = copy.deepcopy(content)
    merges = damaged["model"]["merges"]
    made = ["".join(pair) for pair in merges]
    # Of a piece that two pairs make, one goes to the end.
    first = next(i for i in range(len(made)) if made.count(made[i]) > 1)
    merges.append(merges.pop(first))
    (tmp_path / "tokenizer.json").write_text(json.dumps(damaged))
    with pytest.warns(UserWarning, match="stand among those of others"):
        read_tokenizer(tmp_path)


def test_what_tokenizer_json_cannot_hold() -> None:
    for part, name, value, expected in (
        ("trainer_spec", "model_type", 1, "another model than byte pairs"),
        ("trainer_spec", "byte_fallback", False, "no byte_fallback"),
        ("trainer_spec", "treat_whitespace_as_suffix", True, "as_suffix"),
        ("normalizer_spec", "add_dummy_prefix", True, "add_dummy_prefix"),
        ("normalizer_spec", "remove_extra_whitespaces", True, "extra_whitespaces"),
        ("normalizer_spec", "escape_whitespaces", False, "no escape_whitespaces"),
        ("normalizer_spec", "precompiled_charsmap", b"x", "rules of normalization"),
    ):
        model = MODEL.FromString(gemma_like_proto())
        setattr(getattr(model, part), name, value)
        with pytest.raises(ValueError, match=expected):
            to_tokenizer_json(model.SerializeToString())


MODEL = sentencepiece_model_pb2.ModelProto
PIECE = MODEL.SentencePiece


def of_pieces(**fields: Any) -> Callable[[Any], None]:
    """Return a change of all plain pieces."""

    def change(model: Any) -> None:
        for piece in model.pieces:
            if piece.type == PIECE.NORMAL:
                for name, value in fields.items():
                    setattr(piece, name, value)

    return change


def of_piece(index: int, **fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        for name, value in fields.items():
            setattr(model.pieces[index], name, value)

    return change


def of_charsmap(value: bytes) -> Callable[[Any], None]:
    return lambda m: setattr(m.normalizer_spec, "precompiled_charsmap", value)


MODEL_CASES: dict[str, tuple[Callable[[Any], None], str]] = {
    "no pieces": (lambda m: m.ClearField("pieces"), "without pieces"),
    "no unknown": (of_piece(3, type=PIECE.CONTROL), "0 pieces for unknown text"),
    "two unknown": (of_piece(300, type=PIECE.UNKNOWN), "2 pieces for unknown text"),
    "scores NaN": (of_pieces(score=math.nan), "the score nan of piece"),
    "scores infinite": (of_pieces(score=-math.inf), "the score -inf of piece"),
    "an empty piece": (of_piece(300, piece=""), "empty text as piece 300"),
    "a piece twice": (of_piece(300, piece="<loc0003>"), "already defined"),
    "a NUL": (of_piece(300, piece="a\0b"), "null character"),
    "a byte lost": (of_piece(70, piece="<0x00>"), "defined|256 byte pieces"),
    "a byte of another kind": (of_piece(70, type=PIECE.NORMAL), "256 byte pieces"),
    "no fallback": (
        lambda m: setattr(m.trainer_spec, "byte_fallback", False),
        "byte_fallback",
    ),
    "a rule of 4 bytes": (of_charsmap(b"\xff" * 4), "cannot be read"),
    "a rule cut off": (of_charsmap(b"\0\4\0\0" + b"\x7f" * 900), "cannot be read"),
    "a rule without end": (of_charsmap(b"\0\4\0\0" + b"\x7f" * 2000), "cannot be"),
    "no locations": (lambda m: m.pieces.__delitem__(slice(400, None)), "lacks"),
    "locations swapped": (
        lambda m: (of_piece(400, piece="x0")(m), of_piece(401, piece="<loc0000>")(m)),
        "lacks",
    ),
}


@pytest.mark.parametrize("case", MODEL_CASES)
def test_damaged_sentencepiece(case: str, tmp_path: Path) -> None:
    change, expected = MODEL_CASES[case]
    model = MODEL.FromString(gemma_like_proto())
    change(model)
    path = tmp_path / "vocabulary.spm"
    path.write_bytes(model.SerializeToString())
    for given in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=expected):
            PaliGemma2Tokenizer(given)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.999])
def test_sentencepiece_that_is_cut_off(share: float, tmp_path: Path) -> None:
    proto = gemma_like_proto()
    path = tmp_path / "tokenizer.model"
    path.write_bytes(proto[: int(share * len(proto))])
    with pytest.raises(ValueError, match=r"Expected a|lacks"):
        PaliGemma2Tokenizer(read_tokenizer(tmp_path))
