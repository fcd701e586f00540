"""The numbers that a network is built of: which there are, and what each may be.

They come from callers and from files of strangers. All are checked before anything is
made of them, since a list of 2**31 layers would take all memory.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

ErrorOf = Callable[[str, str], Exception]
"""From the name of an argument and what is expected of it to an error."""

MAX_WEIGHTS = 2**40
"""Bound of one part: forty times the largest released network."""
MAX_LAYERS = 1024
MAX_WIDTH = 2**20
"""Bound of hidden states, heads, and whatever else is wide."""
MAX_PIXELS = 2**16
MAX_TOKENS = 2**16
"""Bound of a text, eight times what Gemma 2 was trained on, where a file sets it."""
MAX_PIECES = 2**24
"""Bound of a vocabulary."""


class Kind(NamedTuple):
    """What an argument may be.

    Attributes:
        expected: The same in words, as "a whole number from 1 to 1024".
        holds: Whether a value is of the kind.
    """

    expected: str
    holds: Callable[[Any], bool]


def _whole(at_most: int, step: int = 1) -> Kind:
    def holds(value: Any) -> bool:
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        return is_whole and step <= value <= at_most and not value % step

    word = "a whole" if step == 1 else "an even"
    return Kind(f"{word} number from {step} to {at_most}", holds)


def _real(at_least: float, below: float) -> Kind:
    def holds(value: Any) -> bool:
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        return is_real and at_least <= value < below

    return Kind(f"a number from {at_least:g} to below {below:g}", holds)


def _or_none(kind: Kind) -> Kind:
    expected = f"{kind.expected}, or None for none"
    return Kind(expected, lambda value: value is None or kind.holds(value))


_WIDTH = _whole(MAX_WIDTH)
_LAYERS = _whole(MAX_LAYERS)
# float32 divides by and multiplies with any such number and loses nothing.
_SCALE = _real(1e-9, 1e9)

KINDS: dict[str, dict[str, Kind]] = {
    "vision_encoder": {
        "image_size": _whole(MAX_PIXELS),
        "patch_size": _whole(MAX_PIXELS),
        "num_layers": _LAYERS,
        "num_heads": _WIDTH,
        "hidden_dim": _WIDTH,
        "intermediate_dim": _WIDTH,
    },
    "text_decoder": {
        "vocabulary_size": _whole(MAX_PIECES),
        "num_layers": _LAYERS,
        "num_query_heads": _WIDTH,
        "num_key_value_heads": _WIDTH,
        "head_dim": _whole(MAX_WIDTH, step=2),  # Halves of it are rotated together.
        "hidden_dim": _WIDTH,
        "intermediate_dim": _WIDTH,
        "query_pre_attn_scalar": _SCALE,
        "attention_logit_soft_cap": _or_none(_SCALE),
        "final_logit_soft_cap": _or_none(_SCALE),
        "sliding_window": _or_none(_whole(2**31 - 1)),
        "has_post_norms": Kind("True or False", lambda v: isinstance(v, bool)),
        "dropout": _real(0.0, 1.0),
    },
}
"""Arguments of both parts of a network, and what each may be."""

OPTIONAL = ("dropout",)
"""Arguments that released models do not have, nor their files."""

_MULTIPLES = {
    "vision_encoder": (("image_size", "patch_size"), ("hidden_dim", "num_heads")),
    "text_decoder": (("num_query_heads", "num_key_value_heads"),),
}
"""Arguments that are multiples of others."""


def check_part(
    part: str,
    numbers: Mapping[str, Any],
    error: ErrorOf | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Check the numbers of a part of a network, each and together.

    Args:
        part: "vision_encoder" or "text_decoder".
        numbers: All its arguments by name, except those of `OPTIONAL`.
        error: Makes the error, as `Fields.error` of the file that they are from; None
            for one in the words of callers.
        names: What the file calls them, where it has other names.

    Raises:
        ValueError: if a number is of another kind or out of its range, does not divide
            another that it should, or all of them make more weights than any machine
            has room for.
    """
    error, theirs = error or partial(_error, numbers), names or {}
    for name, value in numbers.items():
        kind = KINDS[part][name]
        if not kind.holds(value):
            raise error(theirs.get(name, name), kind.expected)
    for name, divisor in _MULTIPLES[part]:
        if numbers[name] % numbers[divisor]:
            other = f"{theirs.get(divisor, divisor)} ({numbers[divisor]})"
            raise error(theirs.get(name, name), f"a multiple of {other}")
    count = _WEIGHTS[part](**numbers)
    if count > MAX_WEIGHTS:
        room = f"a width of which all numbers make at most {MAX_WEIGHTS:,} weights"
        raise error(theirs.get("hidden_dim", "hidden_dim"), f"{room}, not {count:,}")


def check_kinds(part: str, numbers: Mapping[str, Any]) -> None:
    """Check some numbers of a part, each by itself.

    Raises:
        ValueError: if a number is of another kind or out of its range.
    """
    for name, value in numbers.items():
        kind = KINDS[part][name]
        if not kind.holds(value):
            raise _error(numbers, name, kind.expected)


def check_names(part: str, names: Collection[str], needed: Collection[str]) -> None:
    """Check that a part has arguments of these names.

    Args:
        part: "vision_encoder" or "text_decoder".
        names: What was given.
        needed: Names of which none may be missing.

    Raises:
        TypeError: if one is unknown or missing; names a similar one.
    """
    unknown = [str(name) for name in names if name not in KINDS[part]]
    missing = [name for name in needed if name not in names]
    if unknown or missing:
        near = get_close_matches(unknown[0], KINDS[part], 1) if unknown else []
        wrong = {"which it does not have": unknown, "missing": missing}
        raise TypeError(
            f"Expected the arguments of {part}: {', '.join(KINDS[part])}. Received: "
            + "; ".join(f"{', '.join(n)} {why}" for why, n in wrong.items() if n)
            + (f". Did you mean {near[0]}?" if near else ".")
        )


def _error(numbers: Mapping[str, Any], name: str, expected: str) -> ValueError:
    shown = reprlib.repr(numbers[name])
    return ValueError(f"Expected {name} as {expected}. Received: {shown}.")


def _vision_weights(
    image_size: int,
    patch_size: int,
    num_layers: int,
    hidden_dim: int,
    intermediate_dim: int,
    **others: Any,
) -> int:
    """Return the number of weights of the matrices, which nearly all are in."""
    patches = 3 * patch_size**2 + (image_size // patch_size) ** 2
    blocks = num_layers * (4 * hidden_dim + 2 * intermediate_dim)
    return int(hidden_dim * (patches + blocks))


def _text_weights(
    vocabulary_size: int,
    num_layers: int,
    num_query_heads: int,
    num_key_value_heads: int,
    head_dim: int,
    hidden_dim: int,
    intermediate_dim: int,
    **others: Any,
) -> int:
    heads = 2 * head_dim * (num_query_heads + num_key_value_heads)
    blocks = num_layers * (heads + 3 * intermediate_dim)
    return int(hidden_dim * (vocabulary_size + blocks))


_WEIGHTS: dict[str, Callable[..., int]] = {
    "vision_encoder": _vision_weights,
    "text_decoder": _text_weights,
}
