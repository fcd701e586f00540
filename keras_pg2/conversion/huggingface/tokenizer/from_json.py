"""A `tokenizer.json` as a SentencePiece model that makes the same ids of all texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from keras_pg2.checks.vocabularies import Piece, new_model
from keras_pg2.conversion.huggingface.tokenizer.added_tokens import (
    Added,
    piece_type,
    without_last_image,
)
from keras_pg2.conversion.huggingface.tokenizer.form import (
    BYTES,
    DECODER,
    NORMALIZER,
    PRE_TOKENIZER,
    SPACE,
    TAB,
    TAB_BYTE,
    check_lengths,
    is_space_run,
)
from keras_pg2.files.json_fields import Fields

Splits = dict[str, set[int]]


def to_sentencepiece(content: Fields, added: Added) -> bytes:
    """Return a `tokenizer.json` as a SentencePiece model, without a last `<image>`.

    Args:
        content: Of the file.
        added: Tokens that were added, by id.

    Raises:
        ValueError: if it is damaged, or not a byte-pair encoding as PaliGemma's, with a
            token for every id.
    """
    model = content.fields("model")
    _check_form(content, model)
    vocabulary = read_vocabulary_table(model)
    texts = _texts(vocabulary, added, content)
    unknown = model.text("unk_token", None) or "<unk>"
    types = [piece_type(text, added.get(i), unknown) for i, text in enumerate(texts)]
    _check_pieces(texts, content, unknown)
    check_lengths(texts, content.source)
    plain = {text for text, kind in zip(texts, types) if kind == Piece.NORMAL}
    letters = {text for text in vocabulary if len(text) == 1}
    splits, order = _read_merges(model, vocabulary, plain)
    unreachable = {text for text in plain if not letters.issuperset(text)}
    _check_merges(model, plain - unreachable, splits, TAB in vocabulary)
    scores = _scores(order, model)
    _warn_of_spaces(plain, texts, types, content)

    proto = new_model()
    for i, (text, kind) in enumerate(zip(texts, types)):
        if text in unreachable:
            kind = Piece.UNUSED
        score = scores.get(text, -float(len(scores) + i))
        proto.pieces.add(piece=text, score=score, type=kind)
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.unk_piece = unknown
    for name in ("pad", "bos", "eos"):
        number = vocabulary.get(f"<{name}>", -1)
        setattr(proto.trainer_spec, f"{name}_id", number)
        setattr(proto.trainer_spec, f"{name}_piece", f"<{name}>")
    proto.trainer_spec.unk_id = texts.index(unknown)
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return bytes(proto.SerializeToString())


def read_vocabulary_table(model: Fields) -> dict[str, int]:
    """Return the id of each text in the `model` of a `tokenizer.json`.

    Raises:
        ValueError: if it is damaged, or an id is there twice.
    """
    fields = model.fields("vocab")
    # Fields are read one by one only where one of them is wrong: there are 257,152.
    vocabulary: dict[str, Any] = {text: fields.value(text) for text in fields}
    if not all(type(i) is int and 0 <= i < 2**31 for i in vocabulary.values()):
        for text in fields:
            fields.integer(text)
    if len(set(vocabulary.values())) != len(vocabulary):
        seen: dict[int, str] = {}
        for text, i in vocabulary.items():
            if seen.setdefault(i, text) != text:
                raise ValueError(
                    f"Expected one text for each id of model.vocab in {model.source}. "
                    f"Received: {i} for {seen[i]!r:.80} and for {text!r:.80}."
                )
    return vocabulary


def _check_form(content: Fields, model: Fields) -> None:
    kind = model.value("type", None)
    if kind != "BPE":
        raise ValueError(
            f"Expected a byte-pair encoding (model.type 'BPE') in {content.source}. "
            f"Received: {kind!r:.80}, which is no tokenizer of PaliGemma."
        )
    wrong = {
        "dropout": (model.number("dropout", None) or 0) != 0,
        "continuing_subword_prefix": bool(
            model.text("continuing_subword_prefix", None)
        ),
        "end_of_word_suffix": bool(model.text("end_of_word_suffix", None)),
        "byte_fallback": not model.flag("byte_fallback", False),
        "ignore_merges": model.flag("ignore_merges", False),
    }
    for name in (name for name in wrong if wrong[name]):
        expected = "true" if name == "byte_fallback" else "null or false"
        raise model.error(name, f"{expected}, as PaliGemma has it")
    sequence = {"type": "Sequence", "normalizers": [NORMALIZER]}
    if content.value("normalizer", None) not in (NORMALIZER, sequence):
        raise content.error("normalizer", f"one that replaces ' ' by {SPACE!r} alone")
    # No space is left to split at, so what is done there does not matter.
    split = content.value("pre_tokenizer", None)
    behavior = split.get("behavior") if isinstance(split, dict) else None
    if split is not None and split != {**PRE_TOKENIZER, "behavior": behavior}:
        raise content.error("pre_tokenizer", "null or a split at ' '")
    if content.value("decoder", None) != DECODER:
        raise content.error("decoder", f"that of PaliGemma, {DECODER}")
    if not _has_text_once(content.value("post_processor", None)):
        raise content.error(
            "post_processor", "null or a template with the text ('A') once"
        )


def _has_text_once(post_processor: Any) -> bool:
    """Return whether it adds special tokens at most, which the preprocessor does."""
    if post_processor is None:
        return True
    if not isinstance(post_processor, dict):
        return False
    parts = post_processor.get("single")
    if post_processor.get("type") != "TemplateProcessing" or not isinstance(
        parts, list
    ):
        return False
    if not all(isinstance(part, dict) for part in parts):
        return False
    [text, *others] = [part["Sequence"] for part in parts if "Sequence" in part] or [{}]
    return isinstance(text, dict) and text.get("id") == "A" and not others


def _texts(vocabulary: Mapping[str, int], added: Added, content: Fields) -> list[str]:
    """Return the text of every id."""
    by_id = {i: text for text, i in vocabulary.items()}
    by_text = dict(vocabulary)
    for token in added.values():
        known = by_id.setdefault(token.id, token.text)
        number = by_text.setdefault(token.text, token.id)
        if known != token.text or number != token.id:
            raise ValueError(
                f"Expected added tokens in {token.source} to have ids of their own. "
                f"Received: {token.text!r:.80} as {token.id}, where model.vocab of "
                f"{content.source} has {known!r:.80} as {number}."
            )
    if not by_id:
        raise content.error("model", "a model with a vocabulary")
    num_tokens = max(by_id) + 1
    if num_tokens != len(by_id):
        first = next(i for i in range(num_tokens) if i not in by_id)
        raise ValueError(
            f"Expected a token for each of {num_tokens} ids in {content.source}. "
            f"Received none for {num_tokens - len(by_id)} of them, the first {first}."
        )
    if TAB in by_text and TAB_BYTE not in by_text:
        by_id[by_text[TAB]] = TAB_BYTE
    return without_last_image([by_id[i] for i in range(num_tokens)])


def _check_pieces(texts: list[str], content: Fields, unknown: str) -> None:
    present = set(texts)
    missing = [byte for byte in BYTES if byte not in present]
    if missing:
        raise ValueError(
            f"Expected a piece for each of 256 bytes in {content.source}. Received "
            f"none for {len(missing)} of them, the first {missing[0]}."
        )
    if unknown not in present:
        raise ValueError(
            f"Expected a piece for model.unk_token, {unknown!r:.80}, in "
            f"{content.source}, which has none."
        )
    for i, text in enumerate(texts):
        if not text or "\0" in text or not _is_unicode(text):
            raise ValueError(
                f"Expected texts of at least one letter, without NUL, as tokens in "
                f"{content.source}. Received: {text!r:.80} as {i}."
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_merges(
    model: Fields, vocabulary: Mapping[str, int], plain: set[str]
) -> tuple[Splits, list[str]]:
    """Return where plain pieces are joined, and what each pair of them makes, in order.

    Raises:
        ValueError: if a pair is damaged, is there twice, or names or makes a piece that
            is not there.
    """
    splits: Splits = {}
    order = []
    for i, (left, right) in enumerate(_pairs(model)):
        made = left + right
        if not (left in vocabulary and right in vocabulary and made in vocabulary):
            raise ValueError(
                f"Expected pieces of model.vocab in model.merges.{i} of "
                f"{model.source}. Received: {left!r:.80} and {right!r:.80}, where a "
                "piece is not there."
            )
        if made not in plain:
            continue
        found = splits.setdefault(made, set())
        if len(left) in found:
            raise ValueError(
                f"Expected each pair once in model.merges of {model.source}. Received: "
                f"{left!r:.80} and {right!r:.80} again as {i}."
            )
        found.add(len(left))
        order.append(made)
    return splits, order


def _pairs(model: Fields) -> Iterator[tuple[str, str]]:
    merges = model.value("merges")
    if not isinstance(merges, list):
        raise model.error("merges", "a list")
    for i, given in enumerate(merges):
        pair = given.split(" ") if isinstance(given, str) else given
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(part, str) and part for part in pair)
        ):
            raise Fields({str(i): given}, model.source, model.at("merges")).error(
                str(i), "a pair of texts"
            )
        yield pair[0], pair[1]


def _check_merges(
    model: Fields, plain: set[str], splits: Splits, has_tab: bool
) -> None:
    """Check that all pairs that make a piece are joined, as SentencePiece does.

    Raises:
        ValueError: if a pair is missing.
    """
    parts = plain | ({TAB} if has_tab else set())
    for text in plain:
        found = splits.get(text, set())
        for k in range(1, len(text)):
            if k not in found and text[:k] in parts and text[k:] in parts:
                raise ValueError(
                    f"Expected model.merges of {model.source} to join all pieces that "
                    f"make a piece, as SentencePiece does. Received none for "
                    f"{text[:k]!r:.80} and {text[k:]!r:.80}."
                )


def _scores(order: list[str], model: Fields) -> dict[str, float]:
    """Return a score for each piece that is made; those whose pairs mix have the same.

    transformers sorts by score and then by length, so only equal scores mix.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for rank, text in enumerate(order):
        first.setdefault(text, rank)
        last[text] = rank
    scores: dict[str, float] = {}
    num_groups, end, num_mixed = 0, -1, 0
    for text, rank in first.items():
        if rank > end:
            num_groups += 1
        else:
            num_mixed += 1
        end = max(end, last[text])
        scores[text] = -float(num_groups - 1)
    if num_mixed:
        warnings.warn(
            f"Expected model.merges of {model.source} to have all pairs that make a "
            f"piece together. Received: {num_mixed} pieces whose pairs stand among "
            "those of others. They are taken as equally good, and the first in a text "
            "is joined first, which transformers may do in another order.",
            stacklevel=2,
        )
    return scores


def _warn_of_spaces(
    plain: set[str], texts: list[str], types: list[Any], content: Fields
) -> None:
    """Warn where a run of spaces is a token, and part of a piece that has merges."""
    runs = [
        text
        for text, kind in zip(texts, types)
        if kind == Piece.USER_DEFINED and is_space_run(text)
    ]
    shortest = min(runs, key=len, default=None)
    mixed = [text for text in plain if shortest is not None and shortest in text]
    if mixed:
        warnings.warn(
            f"Expected runs of {SPACE!r} that are added tokens in no other token of "
            f"{content.source}. Received: {len(mixed)} such, the first "
            f"{mixed[0]!r:.80}. The runs are found first, which transformers may do in "
            "another order.",
            stacklevel=3,
        )
