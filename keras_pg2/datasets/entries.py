"""Entries of image, prefix and suffix to rows: what JSON lines and tables share."""

from __future__ import annotations

import difflib
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from keras_pg2.checks.texts import first_names
from keras_pg2.datasets.checks import Problems, check_text
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.rows import Row, Rows

# What may be answered by nothing at all: it is not in the picture.
_ASKS_FOR_THINGS = re.compile(r"(detect|segment)\b")


@dataclass
class EntryReader:
    """Makes rows of entries.

    Attributes:
        finder: finds pictures.
        image_key: key or column of the picture, a path or a list of paths.
        prompt_key: key or column of the prompt.
        response_key: key or column of the answer.
        prompt: the prompt of all entries, in the place of theirs.
        default_prompt: the prompt of entries that have none or a blank one.
        num_filled: how many of them there were.
    """

    finder: ImageFinder
    image_key: str
    prompt_key: str
    response_key: str
    prompt: str | None = None
    default_prompt: str | None = None
    num_filled: int = 0

    def notes(self) -> list[str]:
        """Return what a user should know of the rows that were made."""
        if not self.num_filled:
            return []
        return [
            f"Rows without a prompt, given {self.default_prompt!r}: {self.num_filled}."
        ]

    def read_all(
        self,
        entries: Iterable[tuple[str, Any]],
        problems: Problems,
        name: str,
        parse: Callable[[Any], Mapping[str, Any]] = lambda entry: entry,
    ) -> Rows:
        """Return the rows of entries.

        Args:
            entries: what errors call each entry, and the entry.
            problems: stops at bad entries, or collects what is wrong with them.
            name: what errors call all of them.
            parse: makes an entry of what is given for it.

        Raises:
            FileNotFoundError, PermissionError, ValueError: as `read`; names the entry.
            ValueError: if no row is left.
        """
        rows, sources = [], []
        for source, entry in entries:
            with problems.of(source):
                rows.append(self.read(parse(entry)))
                sources.append(source)
        problems.check_some_left(len(rows), name)
        return Rows(rows, problems.messages, sources, self.notes())

    def read(self, entry: Mapping[str, Any]) -> Row:
        """Return the row of an entry.

        Raises:
            FileNotFoundError, PermissionError: if the picture is not there or may not
                be read.
            ValueError: if a key is missing, or has what cannot be trained on.
        """
        images = self._find_images(self._get(entry, "image_key"))
        template = self._template(entry)
        if template is None:
            prompt = check_text(self._get(entry, "prompt_key"), self.prompt_key, True)
        else:
            prompt = fill_prompt(template, entry)
        is_empty_allowed = _ASKS_FOR_THINGS.match(prompt.strip()) is not None
        response = _as_text(
            self._get(entry, "response_key"), self.response_key, is_empty_allowed
        )
        self.num_filled += template is not None and self.prompt is None
        return {
            "images": images,
            "prompts": prompt,
            "responses": response if response.strip() else "",
        }

    def _find_images(self, image: object) -> Any:
        key = self.image_key
        if not isinstance(image, list):
            return self.finder.find(image, key)
        if not image:
            raise ValueError(f"expected a picture under {key!r}, received [].")
        return [self.finder.find(one, key) for one in image]

    def _template(self, entry: Mapping[str, Any]) -> str | None:
        """Return the prompt to be filled in; None for an entry with one of its own."""
        if self.prompt is not None:
            return self.prompt
        return self.default_prompt if _is_blank(entry.get(self.prompt_key)) else None

    def _get(self, entry: Mapping[str, Any], argument: str) -> Any:
        key = getattr(self, argument)
        if key in entry:
            return entry[key]
        advice = missing_key_advice(key, argument, list(entry))
        raise ValueError(
            f"expected the key {key!r}, received {first_names(entry)}. {advice}"
        )


def missing_key_advice(key: str, argument: str, keys: list[str]) -> str:
    """Return what to do where a key or column is missing.

    Args:
        key: the key.
        argument: the argument that has its name, as "image_key" or "image_column".
        keys: those that are there.
    """
    plain = {name.strip().casefold(): name for name in keys}
    near = difflib.get_close_matches(key.casefold(), plain, 1)
    meant = f"Did you mean {plain[near[0]]!r}? " if near else ""
    option = "--" + argument.replace("column", "key").replace("_", "-")
    other = ", or a prompt for what has none (--prompt)"
    return (
        f"{meant}Rename it, or pass the name it has as {argument} ({option})"
        f"{other if argument.startswith('prompt') else ''}."
    )


def fill_prompt(template: str, entry: Mapping[str, Any]) -> str:
    """Return a prompt, with fields of an entry in the place of their names in braces.

    Args:
        template: the prompt, as "answer en {question}"; `{{` and `}}` are braces.
        entry: has the fields. Braces in them stay as they are.

    Raises:
        ValueError: if there is no such field, or it is not a text or number, or the
            braces are not those of names.
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(
            "expected a prompt with names of fields in braces, as 'answer en "
            f"{{question}}', received {template!r} ({error}). Write {{{{ and }}}} for "
            "braces."
        ) from error
    text = ""
    for literal, name, form, conversion in pieces:
        text += literal
        if name is None:
            continue
        if form or conversion or name not in entry:
            raise ValueError(
                f"expected fields of the row in braces, received {name!r} in the "
                f"prompt {template!r}, while the row has {first_names(entry)}. Name "
                "one of these, or write {{ and }} for braces."
            )
        text += _as_text(entry[name], name, is_empty_allowed=False)
    return check_text(text, "prompt", is_empty_allowed=True)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _as_text(value: object, key: str, is_empty_allowed: bool) -> str:
    """Return what an entry has as text: numbers as written, objects as JSON."""
    if isinstance(value, list | tuple):
        raise ValueError(
            f"expected one text under {key!r}, received a list of {len(value)}. Write "
            "a row for each answer, or as one text what the model is to answer."
        )
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        try:
            value = json.dumps(value, ensure_ascii=False, default=float)
        except RecursionError as error:
            raise ValueError(
                f"expected one text under {key!r}, received lists in "
                "lists beyond any use."
            ) from error
    return check_text(value, key, is_empty_allowed)
