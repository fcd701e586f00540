"""The vocabulary as SentencePiece (`tokenizer.model`) and as `tokenizer.json`.

Both are the same byte-pair encoding: SentencePiece joins the neighbours whose
join has the best score, tokenizers the pair that stands first in a list. Spaces
become "▁" and nothing is added in front (transformers
`models/gemma/tokenization_gemma.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sentencepiece import sentencepiece_model_pb2

# Made at run time, so type checkers do not see it.
_MODEL: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]
_PIECE = _MODEL.SentencePiece
IMAGE_TOKEN = "<image>"

_REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_SPLIT_AT_SPACE = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}


def parse_sentencepiece(proto: bytes) -> Any:
    """The `ModelProto` of a SentencePiece file."""
    return _MODEL.FromString(proto)


def to_tokenizer_json(proto: bytes) -> dict[str, Any]:
    """A SentencePiece model as the content of `tokenizer.json`, with `<image>`.

    `<image>` gets the id after the last piece (257152 in the released vocabulary).
    """
    pieces = parse_sentencepiece(proto).pieces
    vocabulary = {piece.piece: i for i, piece in enumerate(pieces)}
    added = [
        _added_token(i, piece.piece, piece.type != _PIECE.USER_DEFINED)
        for i, piece in enumerate(pieces)
        if piece.type in (_PIECE.CONTROL, _PIECE.UNKNOWN, _PIECE.USER_DEFINED)
    ]
    start = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}]
    first, second = ({"Sequence": {"id": s, "type_id": i}} for i, s in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*added, _added_token(len(pieces), IMAGE_TOKEN, True)],
        "normalizer": _REPLACE_SPACE,
        "pre_tokenizer": _SPLIT_AT_SPACE,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*start, first],
            "pair": [*start, first, second],
            "special_tokens": {
                "<bos>": {
                    "id": "<bos>",
                    "ids": [vocabulary["<bos>"]],
                    "tokens": ["<bos>"],
                }
            },
        },
        "decoder": _DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(pieces, vocabulary),
        },
    }


def to_sentencepiece(content: Mapping[str, Any], num_pieces: int) -> bytes:
    """The content of a `tokenizer.json` as a SentencePiece model.

    Args:
        content: of the file.
        num_pieces: size of the vocabulary; later tokens, as `<image>`, are left out.

    Raises:
        ValueError: when it is no byte-pair encoding with a token for every id.
    """
    model = content.get("model", {})
    if model.get("type") != "BPE":
        raise ValueError(
            "Expected a byte-pair encoding (model.type 'BPE') in tokenizer.json. "
            f"Received: {model.get('type')!r}, which is no tokenizer of PaliGemma."
        )
    added = {token["id"]: token for token in content.get("added_tokens", [])}
    texts = {i: text for text, i in model["vocab"].items()}
    texts.update({i: token["content"] for i, token in added.items()})
    missing = [i for i in range(num_pieces) if i not in texts]
    if missing:
        raise ValueError(
            f"Expected a token for each of {num_pieces} ids in tokenizer.json. "
            f"Received none for {len(missing)} of them, the first {missing[0]}."
        )
    pairs = (
        pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]
    )
    # Of several pairs that make one piece, the first in the list counts.
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    proto = _MODEL()
    for i in range(num_pieces):
        score = -float(ranks.get(texts[i], len(ranks) + i))
        piece_type = _type_of(texts[i], added.get(i), model.get("unk_token"))
        proto.pieces.add(piece=texts[i], score=score, type=piece_type)
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.byte_fallback = True
    for name in ("pad", "unk", "bos", "eos"):
        ids = [i for i in range(num_pieces) if texts[i] == f"<{name}>"]
        setattr(proto.trainer_spec, f"{name}_id", ids[0] if ids else -1)
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return proto.SerializeToString()


def _type_of(text: str, added: Mapping[str, Any] | None, unknown: str | None) -> int:
    if text == (unknown or "<unk>"):
        return _PIECE.UNKNOWN
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return _PIECE.BYTE
    if added is None:
        return _PIECE.NORMAL
    # transformers marks <loc...> and <seg...> special in some versions; they are text.
    is_text = not added["special"] or text.startswith(("<loc", "<seg"))
    return _PIECE.USER_DEFINED if is_text else _PIECE.CONTROL


def _merges(pieces: Any, vocabulary: Mapping[str, int]) -> list[list[str]]:
    """All pairs that make a piece, the best scores first."""
    joined = {
        piece.piece: piece.score
        for piece in pieces
        if piece.type in (_PIECE.NORMAL, _PIECE.USER_DEFINED) and len(piece.piece) > 1
    }
    found = []
    for text, score in joined.items():
        for i in range(1, len(text)):
            left, right = text[:i], text[i:]
            if left in vocabulary and right in vocabulary:
                order = (-score, vocabulary[text], len(left))
                found.append((order, [left, right]))
    return [pair for _, pair in sorted(found, key=lambda item: item[0])]


def _added_token(token_id: int, content: str, is_special: bool) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": is_special,
    }
