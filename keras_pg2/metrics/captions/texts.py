"""What every metric of captions keeps of an example: tokens as texts."""

from __future__ import annotations

from keras_pg2.metrics.captions.ptb import tokenize
from keras_pg2.metrics.metric import Answer, Truth


def tokenized(text: str) -> str:
    """Return the tokens of a caption, joined by blanks."""
    return " ".join(tokenize(text))


def tokenized_case(answer: Answer, truth: Truth) -> tuple[str, list[str]]:
    """Return the tokens of an answer, and of its references.

    Raises:
        ValueError: if there is no reference. An empty one is one.
    """
    if not truth.answers:
        raise ValueError("expected at least one reference caption, received none.")
    return tokenized(answer.text), [tokenized(text) for text in truth.answers]
