"""What every `tokenizer.json` of a PaliGemma has in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

IMAGE_TOKEN = "<image>"
CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", IMAGE_TOKEN)
"""Tokens that no text becomes."""
SPACE = "▁"
TAB, TAB_BYTE = "\t", "<0x09>"
"""In `tokenizer.json` the tab has the id of its byte (transformers' GemmaConverter)."""
BYTES = tuple(f"<0x{i:02X}>" for i in range(256))

NORMALIZER = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PRE_TOKENIZER = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
DECODER: dict[str, Any] = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}


_MOST_SPLITS = 10**8
"""Letters that are compared at most: 257,152 tokens of 19 letters have as many."""


def check_lengths(texts: Iterable[str], source: str | Path) -> None:
    """Check that all splits of all tokens can be looked at in seconds.

    Raises:
        ValueError: if there are too many.
    """
    lengths = [len(text) for text in texts]
    if sum(length * length for length in lengths) > _MOST_SPLITS:
        raise ValueError(
            f"Expected tokens of ordinary lengths in {source}. Received: "
            f"{len(lengths)} tokens of up to {max(lengths)} letters."
        )


def is_space_run(text: str) -> bool:
    """Return whether a text is nothing but spaces."""
    return not text.strip(SPACE)
