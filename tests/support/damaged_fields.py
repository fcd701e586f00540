"""JSON in which one field after another is damaged, and what readers make of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

MISSING = "missing"
DEEP = "a list in lists"
DAMAGES: dict[str, Any] = {
    MISSING: None,
    "null": None,
    "true": True,
    "text": "\x1b[31mx",
    "empty text": "",
    "below 0": -1,
    "0": 0,
    "half": 0.5,
    "2**63": 2**63,
    "4000 digits": 10**4000,
    "1e300": 1e300,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "list": [],
    "list of null": [None],
    "object": {},
    DEEP: None,
}
"""What stands in the place of a field, by name."""
MOST_SECONDS = 5.0


def damaged(
    content: Any, fields: Sequence[tuple[str | int, ...]]
) -> Iterator[tuple[str, Any]]:
    """Give names and copies of JSON, each with one damage in one of the fields.

    Args:
        content: What is right.
        fields: Paths of the fields, such as ("shapes", 0, "label").
    """
    for field in fields:
        for name, value in DAMAGES.items():
            changed = copy.deepcopy(content)
            *within, last = field
            place = changed
            for key in within:
                place = place[key]
            if name == MISSING:
                del place[last]
            else:
                place[last] = nested(400) if name == DEEP else copy.deepcopy(value)
            yield f"{'.'.join(map(str, field))}: {name}", changed


def nested(depth: int) -> list[Any]:
    """Return a list in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def loads(
    read: Callable[[Any], Any],
    cases: Iterator[tuple[str, Any]],
    named: str | Path,
    errors: tuple[type[Exception], ...] = (ValueError,),
) -> tuple[int, set[str]]:
    """Read damaged files, and check that all others are refused in words.

    Args:
        read: Writes the content to a file and reads it.
        cases: As `damaged` gives them.
        named: What each error names: the file.
        errors: What an error may be, exactly.

    Returns:
        How many were read, and the names of those that loaded.
    """
    loaded, count = set(), 0
    for name, content in cases:
        count += 1
        start, error = time.monotonic(), None
        try:
            read(content)
            loaded.add(name)
        except Exception as caught:
            error = caught
        if error is not None:
            assert type(error) in errors, (name, repr(error))
            assert str(named) in str(error), (name, str(error))
            assert len(str(error)) < 1200, (name, len(str(error)))
        assert time.monotonic() - start < MOST_SECONDS, name
    return count, loaded


def named(field: str, damages: Collection[str]) -> set[str]:
    """Return the names of some damages of a field."""
    return {f"{field}: {damage}" for damage in damages}
