"""The tokenizer of a Hugging Face directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pg2.checks.vocabularies import Piece, parse_sentencepiece, read_vocabulary
from keras_pg2.conversion.huggingface.config import image_token_id
from keras_pg2.conversion.huggingface.tokenizer.added_tokens import (
    Added,
    piece_type,
    read_added_tokens,
    without_last_image,
)
from keras_pg2.conversion.huggingface.tokenizer.form import IMAGE_TOKEN, TAB, TAB_BYTE
from keras_pg2.conversion.huggingface.tokenizer.from_json import (
    read_vocabulary_table,
    to_sentencepiece,
)
from keras_pg2.files.json_fields import Fields


def read_tokenizer(directory: Path, config: Fields | None = None) -> bytes | None:
    """Return the SentencePiece model of a directory, or None if it has no tokenizer.

    `tokenizer.model` is taken as it is, with the tokens that were added. If no other
    file lists these, `tokenizer.json` is read, too, and taken if its pieces are others,
    as transformers does. An `<image>` after all others is left out, one before added
    tokens is a piece.

    Args:
        directory: The directory.
        config: Content of its `config.json`; None if the network does not matter.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is damaged, its tokens cannot be those of a SentencePiece
            model, or `<image>` is another token than `config.json` says.
    """
    model, json = directory / "tokenizer.model", directory / "tokenizer.json"
    added = read_added_tokens(directory)
    has_model = model.is_file()
    content = None
    if json.is_file() and not (has_model and added):
        content = Fields.read(json)
        added = read_added_tokens(directory, content)
    if config is not None:
        _check_image_token(added, config)
    if has_model:
        proto = read_vocabulary(model)
        pieces = parse_sentencepiece(proto, model).pieces
        if content is None or _has_these(content, pieces):
            return _with_added_tokens(proto, added, model)
    return None if content is None else to_sentencepiece(content, added)


def _check_image_token(added: Added, config: Fields) -> None:
    """Check that a network has its pictures where the processor writes `<image>`.

    transformers fails on every picture where they differ.

    Raises:
        ValueError: if they differ.
    """
    expected = image_token_id(config)
    for token in added.values():
        if token.text == IMAGE_TOKEN and token.id != expected:
            raise ValueError(
                f"Expected image_token_index of {config.source} as {token.id}, the id "
                f"of {IMAGE_TOKEN} in {token.source}. Received: {expected}. Set it to "
                "the id of the tokenizer that the model was trained with."
            )


def _has_these(content: Fields, pieces: Any) -> bool:
    """Return whether a `tokenizer.json` has these pieces with these ids."""
    vocabulary: Mapping[str, int] = read_vocabulary_table(content.fields("model"))
    expected = {piece.piece: i for i, piece in enumerate(pieces)}
    if TAB in vocabulary and TAB not in expected and TAB_BYTE not in vocabulary:
        expected[TAB] = expected.pop(TAB_BYTE, -1)
    return all(vocabulary.get(text) == i for text, i in expected.items())


def _with_added_tokens(proto: bytes, added: Added, source: Path) -> bytes:
    """Return a SentencePiece model with the tokens that were added to it.

    Raises:
        ValueError: if an added token has the id of another piece, or an id in between
            has no token.
    """
    model = parse_sentencepiece(proto, source)
    num_pieces, is_changed = len(model.pieces), False
    for token in added.values():
        if token.id >= num_pieces:
            continue
        piece = model.pieces[token.id]
        if piece.piece != token.text:
            raise ValueError(
                f"Expected {token.text!r:.80} as piece {token.id} of {source}, as "
                f"{token.source} says. Received: {piece.piece!r:.80}."
            )
        if piece.type == Piece.NORMAL:  # Found before its parts are joined.
            piece.type = piece_type(piece.piece, token)
            is_changed = is_changed or piece.type != Piece.NORMAL
    later = {i: token for i, token in added.items() if i >= num_pieces}
    known = {piece.piece for piece in model.pieces} if later else set()
    texts = []
    for i in range(num_pieces, num_pieces + len(later)):
        if i not in later:
            raise ValueError(
                f"Expected added tokens with ids from {num_pieces} on, the number of "
                f"pieces of {source}. Received {len(later)} tokens, the first "
                f"{min(later)}, the last {max(later)}, and none for {i}."
            )
        token = later[i]
        if token.text in known:
            raise ValueError(
                f"Expected a token once. Received: {token.text!r:.80} as {i} in "
                f"{token.source}, and another time in it or in {source}."
            )
        known.add(token.text)
        texts.append(token.text)
    texts = without_last_image(texts)
    for i, text in enumerate(texts, num_pieces):
        model.pieces.add(piece=text, score=0.0, type=piece_type(text, later[i]))
    return bytes(model.SerializeToString()) if texts or is_changed else proto
