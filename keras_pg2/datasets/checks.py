"""Checks of single entries, and what becomes of entries that fail them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Literal, TypeAlias

from keras_pg2.checks.texts import printable, shown
from keras_pg2.preprocessing.prompts import ADDED_TOKENS, find_control_token

OnBad: TypeAlias = Literal["raise", "skip"]


class Problems:
    """Stops at the first bad entry, or collects what is wrong with each.

    Args:
        on_bad: "raise" or "skip".

    Raises:
        ValueError: for another word.
    """

    def __init__(self, on_bad: OnBad) -> None:
        if on_bad not in ("raise", "skip"):
            raise ValueError(
                f"Expected on_bad to be 'raise' or 'skip', received {on_bad!r}."
            )
        self.on_bad = on_bad
        self.messages: list[str] = []

    @contextmanager
    def of(self, name: str = "") -> Iterator[None]:
        """Puts `name` (file and line) before an error; with "skip" only notes it."""
        try:
            yield
        except (ValueError, OSError) as error:
            # ValueError has subclasses that take more than a text.
            kinds = (FileNotFoundError, PermissionError, OSError)
            kind = next((k for k in kinds if isinstance(error, k)), ValueError)
            message = printable(f"{name}: {error}" if name else error)
            if self.on_bad == "raise":
                advice = (
                    "Correct it, or pass on_bad='skip' (--skip-bad) to leave it out."
                )
                raise kind(f"{message} {advice}") from error
            self.messages.append(message)

    def check_some_left(self, count: int, name: str) -> None:
        """Raises ValueError when `count` is 0."""
        if count == 0:
            why = f" First problem: {self.messages[0]}" if self.messages else ""
            raise ValueError(
                f"{name}: expected at least one entry that can be used, received none "
                f"({len(self.messages)} were skipped).{why}"
            )


def check_text(value: object, key: str, is_empty_allowed: bool = False) -> str:
    """The text itself, once it is sure that the preprocessor takes it.

    Raises:
        ValueError: when it is no text, is empty, is no valid Unicode or holds
            a control token such as "<image>" or "<eos>".
    """
    if not isinstance(value, str):
        # What is read as Decimal, to be written as it was, is a float to a user.
        value = float(value) if isinstance(value, Decimal) else value
        raise ValueError(
            f"expected {key!r} as text, received {type(value).__name__} {shown(value)}."
        )
    if not (is_empty_allowed or value.strip()):
        raise ValueError(f"expected a text under {key!r}, received {value!r:.60}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected valid Unicode under {key!r}, received half a character (a lone "
            f"surrogate) at index {error.start} of {value!r:.60}."
        ) from error
    token = find_control_token(value)
    if token is not None:
        raise ValueError(
            f"expected {key!r} without {token!r}, received {value!r:.60}: "
            f"{ADDED_TOKENS}."
        )
    return value


def as_integer(value: object) -> object:
    """Return 40 for 40.0, as tools that know only one kind of number write it.

    Any other value is returned as it is.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
