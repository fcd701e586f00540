"""Entries of data sets' files to examples, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import Problems, as_integer, check_text
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.files.json_fields import REQUIRED, Fields
from keras_pg2.metrics.metric import Id

OPTION_SEPARATOR = " \t "
"""Between options of a question, as big_vision joins them (`transfers/ai2d.py`)."""


def collect(
    entries: Iterable[tuple[str, Any]],
    read: Callable[[Fields], Example],
    problems: Problems,
    path: Path,
) -> Examples:
    """Return the examples of entries, each with an id of its own.

    Args:
        entries: Source and JSON object of each.
        read: Returns the example of an entry.
        problems: Stops at bad entries, or collects what is wrong with them.
        path: The file, for errors.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `read`; names the entry.
        ValueError: if an entry is not an object, an id occurs twice, or no entry is
            left.
    """
    found: dict[Id, Example] = {}
    sources = []
    for source, entry in entries:
        with problems.of(source):
            if not isinstance(entry, dict):
                raise ValueError(f"expected an object, received {shown(entry)}.")
            example = read(Fields(entry, "the entry"))
            if example.id in found:
                raise ValueError(
                    f"expected every id once, received {shown(example.id)} twice."
                )
            found[example.id] = example
            sources.append(source)
    problems.check_some_left(len(found), str(path))
    return Examples(found.values(), problems.messages, sources)


def check_has_split(entries: Sequence[Any], split: str, path: Path) -> None:
    """Raise ValueError if a file of several splits has nothing of the one asked for."""
    if not entries:
        raise ValueError(
            f"{path}: expected entries of the split {split}, received none. Take a "
            "split that the file has."
        )


def read_id(entry: Fields, name: str) -> Id:
    """Return an id, a whole number of 64 bits or a text.

    Raises:
        ValueError: if it is something else.
    """
    value = as_integer(entry.value(name))
    if isinstance(value, str) and value:
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise entry.error(name, "a whole number or a text")


def read_text(entry: Fields, name: str, default: Any = REQUIRED) -> str:
    """Return a text without blanks around it.

    Raises:
        ValueError: if it is no text, is empty, or has a control token in it.
    """
    return check_text(entry.text(name, default), entry.at(name)).strip()


def read_answers(
    entry: Fields, name: str, *, is_test: bool, key: str = ""
) -> tuple[str, ...]:
    """Return all answers of an entry, as they are in the file.

    Args:
        entry: The entry.
        name: The field that has the list of them.
        is_test: Whether the split is one whose answers a server keeps back, so that
            there may be none.
        key: Field of an answer that has its text; "" if an answer is the text.

    Raises:
        ValueError: if there is no list of texts, or none has a word.
    """

    def read(answers: Fields, index: str) -> str:
        return answers.fields(index).text(key) if key else answers.text(index)

    answers = entry.items(name, read, [] if is_test else REQUIRED)
    return check_answers(answers, name, is_test=is_test)


def check_answers(
    answers: Iterable[str], name: str, *, is_test: bool = False
) -> tuple[str, ...]:
    """Return answers, once it is sure that one of them can be compared with.

    Args:
        answers: All answers of an example.
        name: Where the file has them, for errors.
        is_test: Whether there may be none.

    Raises:
        ValueError: if none has a word, or one has a control token in it.
    """
    checked = tuple(check_text(answer, name, True) for answer in answers)
    if not is_test and not any(answer.strip() for answer in checked):
        raise ValueError(
            f"expected an answer under {name!r}, received {shown(list(checked))}. Take "
            "a split that has answers."
        )
    return checked


def read_options(entry: Fields, name: str) -> tuple[str, ...]:
    """Return the options of a question.

    Raises:
        ValueError: if they are not at least two texts, each with a word.
    """
    options = entry.items(name, read_text)
    if len(options) < 2:
        raise entry.error(name, "at least two options")
    return tuple(options)


def check_split(entry: Fields, name: str, split: str) -> None:
    """Raise ValueError if an entry says that it is of another split."""
    found = entry.text(name, split)
    if found != split:
        raise ValueError(
            f"expected an entry of {split}, received {name} {shown(found)}. Is it the "
            "file of another split?"
        )
