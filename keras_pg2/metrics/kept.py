"""What is made of rows once, and used for every draw of a bootstrap."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class KeepLast(Generic[T]):
    """A function of rows that remembers its result for the rows it had last.

    Rows are the same if they are the same objects in the same order.

    Args:
        function: Returns something of a sequence of rows.
    """

    def __init__(self, function: Callable[[Sequence[Any]], T]) -> None:
        self._function = function
        self._last: tuple[tuple[Any, ...], T] | None = None

    def __call__(self, rows: Sequence[Any]) -> T:
        """Return the function's result."""
        last = self._last
        if (
            last is not None
            and len(last[0]) == len(rows)
            and all(map(operator.is_, last[0], rows))
        ):
            return last[1]
        result = self._function(rows)
        self._last = tuple(rows), result
        return result
