"""Tokenizers as transformers' own conversion of a SentencePiece model makes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer
from transformers.convert_slow_tokenizer import (
    GemmaConverter,
    GemmaSentencePieceExtractor,
)


class _Extractor(GemmaSentencePieceExtractor):
    # transformers 5.23 reads `sp` and does not set it any more.
    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.sp = sentencepiece.SentencePieceProcessor(model_file=model)


class _Converter(GemmaConverter):
    SpmExtractor = _Extractor


def transformers_tokenizer(proto: bytes, directory: Path) -> Tokenizer:
    """`GemmaConverter`'s tokenizer, with `<image>` as PaliGemma's processor adds it."""
    path = directory / "converted.model"
    path.write_bytes(proto)
    named = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos")}
    slow = SimpleNamespace(vocab_file=str(path), **named)
    tokenizer = _Converter(slow).converted()
    path.unlink()
    image = AddedToken("<image>", normalized=False, special=True)
    tokenizer.add_special_tokens([image])
    return tokenizer


def content_of(tokenizer: Tokenizer) -> dict[str, Any]:
    return json.loads(tokenizer.to_str())


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids
