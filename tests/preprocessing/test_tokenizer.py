from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer

TEXTS = [
    "caption en",
    "detect cat ; dog",
    "<loc0001><loc1023><loc0512><loc0000> cat ; <seg000><seg127>",
    "  two  spaces ",
    "schläft 日本 🐕",
    "\n",
    "",
]


def test_ids_of_the_pieces(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.end_token_id) == (0, 1)
    assert tokenizer.start_token_id == 2
    size = tokenizer.vocabulary_size()
    assert tokenizer.first_location_id == size - 1024 - 128
    assert tokenizer.location_ids[-1] + 1 == tokenizer.first_segment_id
    assert tokenizer.segment_ids[-1] == size - 1
    assert tokenizer.id_to_token(tokenizer.location_ids[7]) == "<loc0007>"
    assert tokenizer.id_to_token(tokenizer.segment_ids[127]) == "<seg127>"
    assert tokenizer.id_to_token(tokenizer.separator_id) == "\n"


def test_same_ids_as_sentencepiece(tokenizer, proto):
    oracle = sentencepiece.SentencePieceProcessor(model_proto=proto)
    assert tokenizer(TEXTS) == oracle.encode(TEXTS)


def test_location_and_segment_tokens_are_single_ids(tokenizer):
    first = tokenizer.first_location_id
    ids = tokenizer("<loc0001><loc1023><seg003>")
    assert ids.tolist() == [first + 1, first + 1023, first + 1024 + 3]


def test_text_of_a_special_token_is_no_special_token(tokenizer):
    ids = tokenizer("<bos> <eos> <pad>")
    assert not set(ids.tolist()) & {0, 1, 2}


def test_same_ids_inside_tf_data(tf, tokenizer):
    dataset = tf.data.Dataset.from_tensor_slices(TEXTS)
    alone = [row.numpy().tolist() for row in dataset.map(tokenizer)]
    assert alone == tokenizer(TEXTS)
    [batch] = dataset.batch(len(TEXTS)).map(tokenizer)
    assert batch.to_list() == tokenizer(TEXTS)


# U+2581 is SentencePiece's own sign for a space.
@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\0")))
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.detokenize(tokenizer.tokenize([text])) == [text]


def test_proto_from_a_path(tmp_path, proto):
    path = tmp_path / "vocabulary.spm"
    path.write_bytes(proto)
    tokenizer = PaliGemma2Tokenizer(path)
    assert tokenizer("dog").tolist() == PaliGemma2Tokenizer(proto)("dog").tolist()


def test_missing_location_and_segment_pieces_are_named(make_proto):
    with pytest.raises(ValueError, match=r"lacks <loc0000>, <seg000>\."):
        PaliGemma2Tokenizer(make_proto(num_locations=0, num_segments=0))
    with pytest.raises(ValueError, match=r"<seg001>\.\.<seg127> right after"):
        PaliGemma2Tokenizer(make_proto(num_segments=64))


def test_missing_special_pieces_are_named():
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g"] * 4),
        model_writer=writer,
        vocab_size=11,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match="<bos>, <eos>, <pad>, <loc0000>"):
        PaliGemma2Tokenizer(writer.getvalue())


def test_bad_files():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.spm"):
        PaliGemma2Tokenizer("nowhere.spm")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.spm"):
        PaliGemma2Tokenizer(Path("nowhere.spm"))
    with pytest.raises(ValueError, match="Expected a SentencePiece model"):
        PaliGemma2Tokenizer(b"this is no vocabulary")


def test_ids_are_int32(tokenizer):
    assert tokenizer("dog").dtype == np.int32
