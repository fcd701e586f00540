"""Regular expressions from a file, matched with names of modules in bounded time.

An expression such as `(a+)+b` takes years to fail on a name of forty letters. Python's
`re` cannot be stopped, so it says what is valid, and the library `regex`, which reads
the same syntax, matches.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import regex

from keras_pg2.checks.texts import shown

MOST_SECONDS = 5.0
"""CPU seconds for all expressions of a file; honest ones take milliseconds."""
MOST_CHARACTERS = 1000
"""Length of an expression. Python takes seconds to compile some that are longer."""


class NamePatterns:
    """The regular expressions of one file.

    Args:
        source: The file, for errors.
    """

    def __init__(self, source: Path) -> None:
        self._source = source
        self._seconds_left = MOST_SECONDS
        self._compiled: dict[str, regex.Pattern] = {}

    def match(self, expression: str, name: str) -> regex.Match | None:
        """Return what `re.match` finds in a name, or None.

        Raises:
            ValueError: if the expression is invalid or too long, or takes too long.
        """
        return self._timed(
            expression, lambda pattern, left: pattern.match(name, timeout=left)
        )

    def fullmatch(self, expression: str, name: str) -> regex.Match | None:
        """Return what `re.fullmatch` finds in a name, or None.

        Raises:
            ValueError: as `match`.
        """
        return self._timed(
            expression, lambda pattern, left: pattern.fullmatch(name, timeout=left)
        )

    def _timed(
        self,
        expression: str,
        find: Callable[[regex.Pattern, float], regex.Match | None],
    ) -> regex.Match | None:
        start = time.thread_time()
        found = None
        try:
            if expression not in self._compiled:
                self._compiled[expression] = self._compile(expression)
            found = find(self._compiled[expression], self._seconds_left)
        except TimeoutError:
            self._seconds_left = 0.0
        self._seconds_left -= time.thread_time() - start
        if self._seconds_left <= 0:
            raise ValueError(
                f"Expected regular expressions in {self._source} that are matched with "
                f"the names of all layers within {MOST_SECONDS:g} seconds. Received "
                f"one that takes longer: {shown(expression)}. Name the layers instead."
            )
        return found

    def _compile(self, expression: str) -> regex.Pattern:
        try:
            if len(expression) > MOST_CHARACTERS:
                raise ValueError(f"more than {MOST_CHARACTERS} characters")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of what may mean more some day.
                re.compile(expression)
                return regex.compile(expression)
        except (ValueError, OverflowError, RecursionError, re.error, regex.error) as e:
            raise ValueError(
                f"Expected names or regular expressions in {self._source}. Received an "
                f"invalid one, {shown(expression)}: {str(e) or type(e).__name__}."
            ) from e
