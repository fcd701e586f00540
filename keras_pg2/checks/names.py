"""Names that users type, looked up in a table."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from keras_pg2.checks.texts import short_repr

T = TypeVar("T")


def find_by_name(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return what has a name.

    Args:
        table: Everything by name.
        name: The name.
        kind: What it names, with its article, as "a metric".

    Raises:
        ValueError: if nothing has it; says which names are near, or all of them.
    """
    if name in table:
        return table[name]
    near = get_close_matches(str(name), table, n=3)
    advice = (
        f"Did you mean {' or '.join(near)}?" if near else f"One of: {', '.join(table)}."
    )
    raise ValueError(
        f"Expected the name of {kind}, received {short_repr(name)}. {advice}"
    )
