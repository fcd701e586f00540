"""A SentencePiece model as a `tokenizer.json` that makes the same ids of all texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_pg2.checks.vocabularies import Piece, parse_sentencepiece
from keras_pg2.conversion.huggingface.tokenizer.form import (
    DECODER,
    IMAGE_TOKEN,
    NORMALIZER,
    PRE_TOKENIZER,
    SPACE,
    TAB,
    TAB_BYTE,
    check_lengths,
    is_space_run,
)

_ADDED = (Piece.CONTROL, Piece.UNKNOWN, Piece.USER_DEFINED)


def to_tokenizer_json(proto: bytes) -> dict[str, Any]:
    """Return a SentencePiece model as the content of `tokenizer.json`, with `<image>`.

    `<image>` gets the id after the last piece (257152 in the released vocabulary) if it
    is not a piece itself. Nothing is added to a text: the processor of PaliGemma writes
    `<bos>` between image and prompt, so a template with another would give two.

    Raises:
        ValueError: if the model is not a byte-pair encoding as PaliGemma's.
    """
    model = parse_sentencepiece(proto)
    _check_form(model)
    pieces = model.pieces
    check_lengths([piece.piece for piece in pieces], "the SentencePiece model")
    vocabulary = {piece.piece: i for i, piece in enumerate(pieces)}
    if TAB not in vocabulary and TAB_BYTE in vocabulary:
        # As transformers' GemmaConverter; the key keeps its place among the others.
        vocabulary = {TAB if t == TAB_BYTE else t: i for t, i in vocabulary.items()}
    added = [
        _added_token(i, piece.piece, piece.type != Piece.USER_DEFINED)
        for i, piece in enumerate(pieces)
        if piece.type in _ADDED
    ]
    if IMAGE_TOKEN not in vocabulary:
        added.append(_added_token(len(pieces), IMAGE_TOKEN, True))
    first, second = ({"Sequence": {"id": s, "type_id": i}} for i, s in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": NORMALIZER,
        "pre_tokenizer": PRE_TOKENIZER,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first],
            "pair": [first, second],
            "special_tokens": {},
        },
        "decoder": DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": next(p.piece for p in pieces if p.type == Piece.UNKNOWN),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(pieces, vocabulary),
        },
    }


def _check_form(model: Any) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    wrong = {
        "another model than byte pairs": trainer.model_type != trainer.BPE,
        "no byte_fallback": not trainer.byte_fallback,
        "treat_whitespace_as_suffix": trainer.treat_whitespace_as_suffix,
        "rules of normalization": bool(normalizer.precompiled_charsmap),
        "add_dummy_prefix": normalizer.add_dummy_prefix,
        "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
        "no escape_whitespaces": not normalizer.escape_whitespaces,
    }
    found = [name for name in wrong if wrong[name]]
    if found:
        raise ValueError(
            "Expected a SentencePiece model of the form of PaliGemma's, which "
            f"tokenizer.json can hold. Received one with {', '.join(found)}."
        )


def _merges(pieces: Any, vocabulary: Mapping[str, int]) -> list[list[str]]:
    """Return all pairs that make a piece, the best scores first.

    Added tokens are found in a text before pairs are joined, all but runs of spaces,
    which are spaces in a text: they come first, and the longest left part first, so
    that a run is taken from its left, as far as there is a piece.
    """
    runs, found = [], []
    for piece in pieces:
        text = piece.piece
        is_run = piece.type == Piece.USER_DEFINED and is_space_run(text)
        if piece.type != Piece.NORMAL and not is_run:
            continue
        for k in range(1, len(text)):
            left, right = text[:k], text[k:]
            if left in vocabulary and right in vocabulary:
                if is_run:
                    runs.append((-len(left), -len(right), [left, right]))
                else:
                    order = (-piece.score, vocabulary[text], len(left))
                    found.append((order, [left, right]))
    pairs = [pair for _, _, pair in sorted(runs)]
    return pairs + [pair for _, pair in sorted(found, key=lambda item: item[0])]


def _added_token(token_id: int, text: str, is_special: bool) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        # Spaces are "▁" only in what is normalized.
        "normalized": SPACE in text,
        "special": is_special,
    }
