"""Parts of a drawn world that have nothing in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar
from zlib import crc32

T = TypeVar("T")
Split: TypeAlias = Literal["train", "validation", "test"]


def split_of(key: str) -> Split:
    """Return the part that a thing belongs to, by its text alone.

    One in twenty is for validation, one in ten for the test.
    """
    place = crc32(key.encode()) % 20
    return "validation" if place == 0 else "test" if place <= 2 else "train"


def draw_of_split(
    split: Split, count: int, draw: Callable[[], tuple[str, T]]
) -> dict[str, T]:
    """Return `count` things of one part by their texts, no two of one text.

    Args:
        split: The part.
        count: Number of things.
        draw: Returns the text of a new thing, and the thing.
    """
    found: dict[str, T] = {}
    while len(found) < count:
        text, thing = draw()
        if split_of(text) == split:
            found[text] = thing
    return found
