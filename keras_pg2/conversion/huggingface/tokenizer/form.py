"""What every `tokenizer.json` of a PaliGemma has in common."""

from __future__ import annotations

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


def is_space_run(text: str) -> bool:
    """Return whether a text is nothing but spaces."""
    return not text.strip(SPACE)
