"""JSON in which one field is not as it should be, and what comes of reading it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

MISSING = object()
VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "text": "7",
    "fraction": 2.5,
    "negative": -1,
    "zero": 0,
    "list": [7],
    "object": {"a": 1},
    "NaN": math.nan,
    "infinity": math.inf,
    "2**31": 2**31,
    "2**63": 2**63,
    "10**400": 10**400,
}
"""What takes the place of a field, one after another."""

Field = tuple[str, ...]
Case = tuple[Field, str, Any]
"""A field, the name of the damage, and the content of the damaged file."""


def fields_of(content: Mapping[str, Any], *path: str) -> list[Field]:
    """The paths of the fields of an object inside."""
    for name in path:
        content = content[name]
    return [(*path, name) for name in content]


def damaged(content: Mapping[str, Any], field: Field, value: Any) -> dict[str, Any]:
    """A copy with another value of a field, or without it."""
    result = copy.deepcopy(dict(content))
    *within, name = field
    inside = result
    for key in within:
        inside = inside[key]
    inside[name] = value
    if value is MISSING:
        del inside[name]
    return result


def all_cases(content: Mapping[str, Any], fields: Iterable[Field]) -> list[Case]:
    """Every field with every value."""
    return [
        (field, name, damaged(content, field, value))
        for field in fields
        for name, value in VALUES.items()
    ]


def read_all(
    cases: Iterable[Case],
    file: Path,
    read: Callable[[], Any],
    judge: Callable[[Case, Any], str | None],
) -> tuple[list[str], int]:
    """Read a file once for each case; what was wrong, and how many were refused.

    Args:
        cases: the contents.
        file: where they are written.
        read: reads it.
        judge: what is wrong with what was read; None for nothing. An error is wrong if
            it is no `ValueError` that names the file and the field.
    """
    wrong, num_refused = [], 0
    for case in cases:
        field, name, content = case
        file.write_text(json.dumps(content))
        reason: str | None
        try:
            found = read()
        except ValueError as error:
            num_refused += 1
            reason = None if is_named(error, file, field) else f"unnamed: {error}"
        except Exception as error:
            reason = f"raw: {error!r}"
        else:
            reason = judge(case, found)
        if reason:
            wrong.append(f"{'.'.join(field)} {name}: {reason}")
    return wrong, num_refused


def is_named(error: Exception, file: Path, field: Field) -> bool:
    text = str(error)
    return str(file) in text and field[-1] in text and len(text) < 1000
