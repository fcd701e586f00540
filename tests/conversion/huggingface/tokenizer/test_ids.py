"""Ids of texts, against the tokenizers library and transformers' own conversion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor as Processor
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from keras_pg2.conversion.huggingface.tokenizer.directory import read_tokenizer
from keras_pg2.conversion.huggingface.tokenizer.to_json import to_tokenizer_json
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from tests.support.converted_tokenizers import (
    content_of,
    encode,
    transformers_tokenizer,
)
from tests.support.tiny_vocabulary import SENTENCES, released_like_proto

PARTS = (
    *("\t", "\n", " ", "  ", "\r\n", "\x00", "\x07", "\x1b", "é", "😀", "\u200b", "漢"),
    *("<loc0012>", "<seg003>", "<mask>", "<unused2>", "<start_of_turn>", "<table>"),
    *("<", ">", "</", "<0x09>", "0x41", "[toxicity=0]", "a", "ss", "the", " ball"),
)
TEXTS = st.lists(
    st.tuples(
        st.sampled_from(PARTS) | st.characters(exclude_categories=["Cs"]),
        st.sampled_from([1, 1, 1, 2, 3, 31, 32, 65]),
    ),
    max_size=8,
).map(lambda parts: "".join(text * times for text, times in parts))
"""Texts with runs of what the vocabulary has runs of."""
MARK = "▁"


@pytest.fixture(scope="module")
def proto() -> bytes:
    return released_like_proto()


@pytest.fixture(scope="module")
def original(proto: bytes) -> Processor:
    return Processor(model_proto=proto)


@pytest.fixture(scope="module")
def theirs(proto: bytes, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return transformers_tokenizer(proto, tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def read(theirs: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Processor:
    """What is made of a directory that has transformers' tokenizer.json alone."""
    directory = tmp_path_factory.mktemp("json_alone")
    theirs.save(str(directory / "tokenizer.json"))
    return Processor(model_proto=read_tokenizer(directory))


@pytest.fixture(scope="module")
def written(proto: bytes) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(to_tokenizer_json(proto)))


def test_transformers_puts_the_tab_at_its_byte(
    theirs: Tokenizer, original: Processor
) -> None:
    """What is peculiar in the released vocabulary is so in the one of this test."""
    byte = original.PieceToId("<0x09>")
    assert theirs.token_to_id("\t") == byte
    assert theirs.token_to_id("<0x09>") is None
    assert original.PieceToId("\t\t\t") > byte
    assert original.Encode("\t\t\t\t") == [original.PieceToId("\t" * 4)]
    assert original.Encode("\t") == [byte]


@given(text=TEXTS)
@settings(max_examples=400, deadline=None)
def test_ids_are_those_of_transformers_conversion(
    text: str, read: Processor, theirs: Tokenizer
) -> None:
    assert read.Encode(text) == encode(theirs, text)


@given(text=TEXTS | st.text(alphabet=f"{MARK} \t\na", max_size=70))
@settings(max_examples=400, deadline=None)
def test_what_is_written_has_the_ids_of_the_vocabulary(
    text: str, written: Tokenizer, original: Processor
) -> None:
    assert encode(written, text) == original.Encode(text)


@given(text=TEXTS | st.text(alphabet=f"{MARK} \t\na", max_size=70))
@settings(max_examples=200, deadline=None)
def test_what_is_read_has_the_ids_of_the_vocabulary_it_was_made_of(
    text: str, read: Processor, original: Processor
) -> None:
    assert read.Encode(text) == original.Encode(text)


@given(ids=st.lists(st.integers(4, 1663), max_size=12))
@settings(max_examples=200, deadline=None)
def test_ids_are_decoded_alike(
    ids: list[int], read: Processor, theirs: Tokenizer
) -> None:
    text = theirs.decode(ids, skip_special_tokens=False)
    # Of bytes that are no text, the libraries differ in what they replace.
    assume("\ufffd" not in text)
    assert read.Decode(ids) == text


def test_the_tab_is_written_where_transformers_has_it(
    written: Tokenizer, theirs: Tokenizer
) -> None:
    ours, expected = content_of(written), content_of(theirs)
    assert ours["model"]["vocab"] == expected["model"]["vocab"]
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        assert ours[name] == expected[name]
    added = [
        {t["id"]: t["content"] for t in c["added_tokens"]} for c in (ours, expected)
    ]
    # transformers adds <unk> when a tokenizer of a class is made of it.
    assert added[0] == {**added[1], 3: "<unk>"}


def test_an_older_order_of_pairs(
    proto: bytes, theirs: Tokenizer, tmp_path: Path
) -> None:
    """transformers once sorted the pairs of a piece by their ids."""
    content = content_of(theirs)
    vocabulary = content["model"]["vocab"]
    scores = {
        piece.piece: piece.score
        for piece in sentencepiece_model_pb2.ModelProto.FromString(proto).pieces
    }

    def order(pair: list[str]) -> tuple[float, int, int]:
        made = "".join(pair)
        return -scores[made], vocabulary[pair[0]], vocabulary[pair[1]]

    content["model"]["merges"].sort(key=order)
    # PaliGemma's processor added these as plain texts, to Gemma's tokenizer.
    for token in content["added_tokens"]:
        token["normalized"] = token["content"].startswith(("<loc", "<seg"))
    # The older files have a pair as one text.
    pairs = [" ".join(pair) for pair in content["model"]["merges"]]
    content["model"]["merges"] = pairs
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = PaliGemma2Tokenizer(read_tokenizer(tmp_path))
    library = Tokenizer.from_str(json.dumps(content))
    for text in SENTENCES:
        assert tokenizer.tokenize(text).tolist() == encode(library, text)


def test_the_library_knows_the_control_tokens(read: Processor) -> None:
    ids = (read.pad_id(), read.eos_id(), read.bos_id(), read.unk_id())
    assert ids == (0, 1, 2, 3)


def test_text_of_control_tokens_stays_text(read: Processor) -> None:
    for text in ("<bos>", "<eos>", "<pad>", "<image>"):
        assert len(read.Encode(text)) > 1
