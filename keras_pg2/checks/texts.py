"""Texts that UTF-8 can hold, as a tokenizer needs them."""

from __future__ import annotations


def check_unicode(text: str, name: str, position: str = "") -> None:
    """Raises ValueError for a text with half a character in it.

    Args:
        text: what was given.
        name: of the argument.
        position: where in it, such as " at position 3".
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Expected {name} as valid Unicode text, received "
            f"{around(error)!r}{position} with half a character (a lone surrogate) at "
            f"index {error.start}. Read the text anew with the right encoding, or "
            "leave it out."
        ) from error


def around(error: UnicodeDecodeError | UnicodeEncodeError) -> str | bytes:
    """The text near the error, as prompts may be long."""
    return error.object[max(0, error.start - 20) : error.start + 20]
