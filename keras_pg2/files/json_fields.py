"""JSON objects of any origin, read field by field and by kind.

What stands in a file decides the shapes of a network, so a text where a number belongs
must not get further than the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from keras_pg2.checks.texts import printable, shown
from keras_pg2.files.json_files import parse_json, read_file, read_json

T = TypeVar("T")

REQUIRED: Any = object()
"""The default of fields that must be there."""
MAX_SMALL_BYTES = 1_000_000
"""Bound of a configuration; parsed, it may take 50 times that."""
_LONGEST_PATH = 200
"""Characters of the path of a field that a message shows."""


class Fields:
    """A JSON object whose fields are read by kind; errors name the file and the field.

    Every reader takes a default for a field that is absent. `null` is read as None if
    that is the default, and is an error otherwise.

    Args:
        values: The object.
        source: File that it is from, for errors.
        path: Where in the file it is, such as "text_config"; "" for the whole.
    """

    def __init__(
        self, values: Mapping[str, Any], source: str | Path, path: str = ""
    ) -> None:
        self._values = values
        self.source = source
        self.path = path

    @classmethod
    def read(cls, path: Path) -> Fields:
        """Return the object in a JSON file.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it holds no JSON, or something other than an object.
        """
        return cls(read_json(path), path)

    @classmethod
    def parse(cls, content: bytes, source: str | Path) -> Fields:
        """Return the object in the content of a JSON file.

        Raises:
            ValueError: if it is not JSON, or is something other than an object.
        """
        return cls(parse_json(content, source), source)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def integer(
        self,
        name: str,
        default: Any = REQUIRED,
        at_least: int = 0,
        at_most: int = 2**31 - 1,
    ) -> Any:
        """Return a whole number in a range, both ends of which belong to it.

        Raises:
            ValueError: if it is no such number; True and 2.0 are not.
        """
        expected = f"a whole number from {at_least} to {at_most}"
        return self._get(
            name, default, expected, lambda v: _integer(v, at_least, at_most)
        )

    def number(
        self,
        name: str,
        default: Any = REQUIRED,
        at_least: float = -math.inf,
        above: float = -math.inf,
        at_most: float = math.inf,
        below: float = math.inf,
    ) -> Any:
        """Return a finite number of a range as a float.

        Raises:
            ValueError: if it is no such number.
        """
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("above", above),
                (">=", at_least),
                ("<=", at_most),
                ("below", below),
            )
            if math.isfinite(bound)
        ]
        expected = " ".join(["a finite number", " and ".join(bounds)]).strip()
        return self._get(
            name,
            default,
            expected,
            lambda v: _number(v, at_least, above, at_most, below),
        )

    def flag(self, name: str, default: Any = REQUIRED) -> Any:
        """Return true or false.

        Raises:
            ValueError: if it is something else.
        """
        return self._get(name, default, "true or false", _flag)

    def text(
        self, name: str, default: Any = REQUIRED, choices: tuple[str, ...] = ()
    ) -> Any:
        """Return a text, one of `choices` if there are any.

        Raises:
            ValueError: if it is something else.
        """
        expected = f"one of {', '.join(choices)}" if choices else "a text"
        return self._get(name, default, expected, lambda v: _text(v, choices))

    def fields(self, name: str, default: Any = REQUIRED) -> Any:
        """Return an object as `Fields`; a default, too, if it is a mapping.

        Raises:
            ValueError: if it is no object.
        """
        found = self._get(name, default, "an object", _object)
        return found if found is None else Fields(found, self.source, self.at(name))

    def items(
        self, name: str, read: Callable[[Fields, str], T], default: Any = REQUIRED
    ) -> Any:
        """Return a list, each item of which a reader of this class has read.

        Args:
            name: Name of the field.
            read: Takes `Fields` and the name of an item in them, such as
                `Fields.text`, or a lambda that passes more arguments.
            default: What an absent field is.

        Raises:
            ValueError: if it is no list, or an item is of another kind.
        """
        found = self._get(name, default, "a list", _list)
        if found is default:
            return found
        inside = Fields({str(i): v for i, v in enumerate(found)}, self.source)
        inside.path = self.at(name)
        return [read(inside, str(i)) for i in range(len(found))]

    def table(
        self, name: str, read: Callable[[Fields, str], T], default: Any = REQUIRED
    ) -> Any:
        """Return an object as a dict, each value of which a reader has read.

        Args:
            name: Name of the field.
            read: Takes `Fields` and the name of a value in them, such as `Fields.text`.
            default: What an absent field is.

        Raises:
            ValueError: if it is no object, or a value is of another kind.
        """
        found = self.fields(name, default)
        return None if found is None else {key: read(found, key) for key in found}

    def filled(self, defaults: Mapping[str, Any]) -> Fields:
        """Return the object with the fields of another where it has none itself."""
        return Fields({**defaults, **self._values}, self.source, self.path)

    def value(self, name: str, default: Any = REQUIRED) -> Any:
        """Return what a field holds, of any kind.

        Raises:
            ValueError: if it is absent and has no default.
        """
        if name in self._values:
            return self._values[name]
        if default is not REQUIRED:
            return default
        near = get_close_matches(name, map(str, self._values), n=1)
        raise ValueError(
            f"Expected {self.at(name)} in {self.source}, which is not there."
            + (f" Is it what is called {near[0]!r}?" if near else "")
        )

    def error(self, name: str, expected: str) -> ValueError:
        """Return the error for a field that is not as expected."""
        return ValueError(
            f"Expected {self.at(name)} in {self.source} as {expected}. Received: "
            f"{shown(self._values.get(name))}."
        )

    def at(self, name: str) -> str:
        """Return the path of a field in the file, such as "text_config.head_dim"."""
        path = printable(f"{self.path}.{name}" if self.path else name)
        return path if len(path) <= _LONGEST_PATH else path[:_LONGEST_PATH] + "..."

    def _get(
        self, name: str, default: Any, expected: str, read: Callable[[Any], T]
    ) -> T | Any:
        value = self.value(name, default)
        if name not in self._values or (value is None and default is None):
            return value
        try:
            return read(value)
        except _WrongKindError:
            raise self.error(name, expected) from None


def read_config(path: Path) -> Fields:
    """Return the object in a configuration, a file of at most 1 MB.

    Raises:
        OSError, ValueError: as `Fields.read`; and ValueError if it is larger.
    """
    return Fields.parse(read_file(path, MAX_SMALL_BYTES), path)


class _WrongKindError(Exception):
    pass


def _integer(value: Any, at_least: int, at_most: int) -> int:
    if type(value) is not int or not at_least <= value <= at_most:
        raise _WrongKindError
    return value


def _number(
    value: Any, at_least: float, above: float, at_most: float, below: float
) -> float:
    if type(value) not in (int, float):
        raise _WrongKindError
    try:
        number = float(value)
    except OverflowError:
        raise _WrongKindError from None
    is_within = at_least <= number <= at_most and above < number < below
    if not (math.isfinite(number) and is_within):
        raise _WrongKindError
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongKindError
    return value


def _text(value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or (choices and value not in choices):
        raise _WrongKindError
    return value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _WrongKindError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _WrongKindError
    return value
