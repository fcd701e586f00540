"""Names of number types and quantizations, in the short and the long spelling."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

FLOATS = ("float32", "bfloat16", "float16")
INTEGERS = ("int8", "int4")
POLICIES = ("auto", *FLOATS, "mixed_bfloat16", "mixed_float16")
"""What a model can be loaded in."""
SPELLINGS = {
    "f32": "float32",
    "fp32": "float32",
    "bf16": "bfloat16",
    "f16": "float16",
    "fp16": "float16",
    "half": "float16",
    "q8": "int8",
    "8bit": "int8",
    "q4": "int4",
    "4bit": "int4",
}
"""Other spellings of the names above."""


def check_dtype(
    value: Any, known: Iterable[str], what: str = "dtype", advice: str = ""
) -> str:
    """Return the long name of a number type or quantization, as bfloat16 for "bf16".

    Args:
        value: What was given, in any spelling and case.
        known: Long names to choose from.
        what: Name of the argument.
        advice: What else could be done, for the end of the message.

    Raises:
        ValueError: if it is not one of `known`; names a similar one.
    """
    known = tuple(known)
    word = str(value).lower()
    name = SPELLINGS.get(word, word)
    if name in known:
        return name
    near = get_close_matches(name, known, n=1)
    raise ValueError(
        f"Expected {what} as one of {', '.join(known)}. Received: {value!r}."
        f"{f' Did you mean {near[0]!r}?' if near else ''}{advice and f' {advice}'}"
    )


def check_quantization(
    value: str | None,
    known: Iterable[str] = ("float16", *INTEGERS),
    what: str = "quantization",
) -> str | None:
    """Return the long name of a file's quantization, None for that of float32.

    Args:
        value: What was given; None and "float32" leave weights as they are.
        known: Long names of what the format has beside float32.
        what: Name of the argument.

    Raises:
        ValueError: if it is not one of `known`; names a similar one.
    """
    if value is None:
        return None
    name = check_dtype(value, ("float32", *known), what)
    return None if name == "float32" else name
