"""Tokens that were added to a vocabulary, from all files that may list them.

transformers 4 lists them in `tokenizer_config.json` or `added_tokens.json`, too,
version 5 in `tokenizer.json` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_pg2.checks.vocabularies import Piece
from keras_pg2.conversion.huggingface.tokenizer.form import (
    BYTES,
    CONTROL_TOKENS,
    IMAGE_TOKEN,
    SPACE,
    check_lengths,
    is_space_run,
)
from keras_pg2.files.json_fields import Fields

_MOST_TOKENS = 32_768
"""Bound of the tokens that a file adds; the released vocabulary has 1,500 such."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before anything else is.

    Attributes:
        id: Its id.
        text: As a piece, with "▁" for spaces.
        is_normalized: Whether it is looked for after the tokens that are not.
        is_strict: Whether it is found wherever its text is, and is nothing more.
        source: File that lists it.
    """

    id: int
    text: str
    is_normalized: bool
    is_strict: bool
    source: str | Path

    @property
    def is_typed(self) -> bool:
        """Whether text can become this token."""
        return self.text not in (*CONTROL_TOKENS, "<unk>")


Added = Mapping[int, AddedToken]


def read_added_tokens(directory: Path, content: Fields | None = None) -> Added:
    """Return the added tokens of a directory, by id.

    Args:
        directory: Hugging Face directory.
        content: Of its `tokenizer.json`, if that was read.

    Raises:
        ValueError: if a file is damaged, two files contradict each other, or text
            would become other tokens than transformers makes of it.
    """
    listed = [] if content is None else _listed(content)
    for name, read in (("tokenizer_config", _by_id), ("added_tokens", _by_text)):
        path = directory / f"{name}.json"
        if path.is_file():
            listed += read(Fields.read(path))
    added: dict[int, AddedToken] = {}
    for token in listed:
        known = added.setdefault(token.id, token)
        if known.text != token.text:
            raise ValueError(
                f"Expected one token of id {token.id}. Received: {known.text!r:.80} in "
                f"{known.source} and {token.text!r:.80} in {token.source}."
            )
    _check(added.values())
    return added


def _listed(content: Fields) -> list[AddedToken]:
    """Return what `tokenizer.json` lists."""
    _check_number(content, content.value("added_tokens", []))
    tokens: list[Fields] = content.items("added_tokens", Fields.fields, [])
    return [_added_token(token, token.integer("id")) for token in tokens]


def _by_id(config: Fields) -> list[AddedToken]:
    """Return what `tokenizer_config.json` lists."""
    _check_number(config, config.value("added_tokens_decoder", {}))
    tokens: dict[str, Fields] = (
        config.table("added_tokens_decoder", Fields.fields, None) or {}
    )
    # Python reads no more than 4300 digits, and no vocabulary has 2^31 tokens.
    if not all(re.fullmatch(r"[0-9]{1,10}", key) for key in tokens):
        raise config.error("added_tokens_decoder", "a table with whole numbers as keys")
    return [_added_token(token, int(key)) for key, token in tokens.items()]


def _by_text(tokens: Fields) -> list[AddedToken]:
    """Return what `added_tokens.json` lists."""
    _check_number(tokens, tokens)
    return [
        AddedToken(tokens.integer(t), t.replace(" ", SPACE), False, True, tokens.source)
        for t in tokens
    ]


def _check_number(fields: Fields, tokens: Any) -> None:
    """Check that tokens, which are read one by one, are no more than anyone adds.

    Raises:
        ValueError: if they are.
    """
    if isinstance(tokens, Sized) and len(tokens) > _MOST_TOKENS:
        raise ValueError(
            f"Expected at most {_MOST_TOKENS} added tokens in {fields.source}. "
            f"Received: {len(tokens)}."
        )


def _added_token(token: Fields, token_id: int) -> AddedToken:
    text, is_special = token.text("content"), token.flag("special", False)
    if not text:
        raise token.error("content", "a text of at least one letter")
    more = [token.flag(name, False) for name in ("single_word", "lstrip", "rstrip")]
    return AddedToken(
        id=token_id,
        text=text.replace(" ", SPACE),
        is_normalized=token.flag("normalized", not is_special),
        is_strict=not any(more),
        source=token.source,
    )


def _check(added: Iterable[AddedToken]) -> None:
    typed = [token for token in added if token.is_typed]
    for token in typed:
        # transformers 4 gave <mask> lstrip; PaliGemma has no use for it.
        if not token.is_strict and token.text != "<mask>":
            raise ValueError(
                "Expected added tokens without single_word, lstrip and rstrip, which a "
                "SentencePiece vocabulary does not have. Received: "
                f"{token.text!r:.80} in {token.source}. Add it again without them."
            )
        if token.text in BYTES:
            raise ValueError(
                f"Expected no byte among the added tokens of {token.source}. Received: "
                f"{token.text!r:.80}."
            )
    _check_overlaps(
        [t for t in typed if not t.is_normalized and not is_space_run(t.text)],
        # What is found first has no spaces for a run of them to overlap with.
        [t for t in typed if t.is_normalized and not is_space_run(t.text)],
    )


def _check_overlaps(first: list[AddedToken], late: list[AddedToken]) -> None:
    """Check that what is found first takes no letters of what is looked for later.

    SentencePiece looks for all of them at once, and takes the longest.
    """
    if not late:
        return
    check_lengths([token.text for token in (*first, *late)], late[0].source)
    early = {token.text for token in first}
    beginnings = {text[:k] for text in early for k in range(1, len(text) + 1)}
    for token in late:
        text = token.text
        for i in range(len(text)):
            for j in range(i + 1, len(text) + 1):
                part = text[i:j]
                if part not in beginnings:
                    break
                is_inside = part in early and part != text
                if is_inside or (i > 0 and j == len(text)):
                    raise ValueError(
                        f"Expected added tokens that do not overlap. Received: "
                        f"{text!r:.80} in {token.source}, in which {part!r:.80} is "
                        "found first, or begins what is (its 'normalized' is false). "
                        "Add both alike."
                    )


def piece_type(text: str, token: AddedToken | None, unknown: str = "<unk>") -> Any:
    """Return the type of a piece, of which `token` says how it was added, if it was."""
    if text == unknown:
        return Piece.UNKNOWN
    if text in BYTES:
        return Piece.BYTE
    if text in CONTROL_TOKENS:
        return Piece.CONTROL
    return Piece.NORMAL if token is None else Piece.USER_DEFINED


def without_last_image(texts: list[str]) -> list[str]:
    """Return texts without an `<image>` at their end, which needs no row."""
    return texts[:-1] if texts and texts[-1] == IMAGE_TOKEN else texts
