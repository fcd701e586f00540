"""Checks of the whole numbers that people pass; no Keras is needed."""

from __future__ import annotations

import operator
from numbers import Integral
from typing import Any

MAX_LORA_ALPHA = 1e6
"""Largest alpha of LoRA. What is trained has up to some hundreds, and numbers of 16
bits overflow by more."""


def check_at_least_one(name: str, value: Any, also: str = "") -> int:
    """A number of things as `int`, whatever whole number it was (also numpy's).

    Args:
        name: of the argument.
        value: what was given.
        also: what else the argument may be, such as ", or None".

    Raises:
        ValueError: when it is no whole number, or one below 1; True is none.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(
            f"Expected {name} as a whole number >= 1{also}. Received: {value!r}."
        )
    return number


def check_flag(name: str, value: object) -> None:
    """Raise TypeError unless a value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"Expected {name} as True or False. Received: {value!r}.")


def check_seed(seed: object) -> None:
    """Raises ValueError unless `seed` is None or a whole number >= 0."""
    if seed is not None and not (isinstance(seed, Integral) and int(seed) >= 0):
        raise ValueError(
            f"Expected seed as a whole number >= 0, or None. Received: seed={seed!r}."
        )
