"""Texts from outside: valid for a tokenizer, safe for a terminal, a card, a table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from itertools import islice
from reprlib import Repr

LINES_AND_JOINERS = "\n\t\u200c\u200d"
"""What an answer may have: lines, and the joiners of Persian and of emoji."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of controls, formatting, surrogates and separators of lines."""
_MOST_NAMES = 10
"""How many names a message lists."""
_LONGEST_NAME = 80
"""Characters of each that it shows."""
_SHOWN = 80
"""Characters of a value that a message shows."""
_REPR = Repr()
# Lists in lists have no end that `repr` would come to.
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN
_MARKUP = re.compile(r"[\\`*_\[\]<>&|~#$]")


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


def printable(text: object, kept: str = "") -> str:
    r"""Return a text with escapes such as \x1b for its invisible characters.

    A terminal takes control characters as commands, and those of formatting reorder or
    hide what stands beside them. So every text from outside (a name in a file, a label,
    an answer, an error of a library) passes through here before it is shown.

    Args:
        text: A text, or what becomes one by `str`.
        kept: Invisible characters that stay.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _INVISIBLE
        else character.encode("unicode_escape").decode()
        for character in text
    )


def reason(error: Exception) -> str:
    """Return what another library's error says, as a part of a sentence of ours."""
    return printable(error).removesuffix(".")


def short_repr(value: object) -> str:
    """Return the beginning of how Python writes a value, for a message.

    What is invisible is escaped, and the whole is never built.
    """
    is_number = isinstance(value, int | float)  # The usual id of a thing.
    text = repr(value) if is_number else _REPR.repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def shown(value: object) -> str:
    """Return a value of a file for a message: its beginning, as JSON's null if None."""
    return "null" if value is None else short_repr(value)


def first_names(names: Collection[object]) -> str:
    """Return the first names of a file or folder, for an error, or "none".

    Args:
        names: All of them. How many are left out is said.
    """
    texts = map(str, islice(names, _MOST_NAMES))
    first = ", ".join(
        text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "..."
        for text in texts
    )
    num_more = len(names) - _MOST_NAMES
    more = f" and {num_more:,} more" if num_more > 0 else ""
    return printable(first + more) or "none"


def printable_json(text: str) -> str:
    r"""Return a JSON document with \u escapes for invisible characters in its texts.

    Newlines are those of its layout, as texts in JSON have none.
    """
    if text.isprintable():
        return text
    shown = (
        "".join(f"\\u{unit:04x}" for unit in _utf_16(character))
        if character != "\n" and unicodedata.category(character) in _INVISIBLE
        else character
        for character in text
    )
    return "".join(shown)


def markdown_text(text: object) -> str:
    """Return a text as Markdown, on one line, that shows just these characters.

    It is neither markup nor HTML, and does not end a cell of a table.
    """
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def python_text(text: str) -> str:
    """Return a text in double quotes as Python's source code, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def _utf_16(character: str) -> list[int]:
    units = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]


def around(error: UnicodeDecodeError | UnicodeEncodeError) -> str | bytes:
    """The text near the error, as prompts may be long."""
    return error.object[max(0, error.start - 20) : error.start + 20]
