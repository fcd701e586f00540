"""Captions of a picture that stand in several entries, and examples of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.public.examples import Example
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Id, Truth
from keras_pg2.preprocessing.images import ImageInput

K = TypeVar("K")
T = TypeVar("T")


def captioned(
    id: Id,
    images: ImageInput | tuple[ImageInput, ...],
    captions: Iterable[str],
    kind: str = "",
    language: str = "",
) -> Example:
    """Return an example whose references are captions.

    Raises:
        ValueError: if there is no caption.
    """
    references = tuple(captions)
    if not references:
        raise ValueError("expected at least one caption, received none.")
    return Example(
        id=id,
        images=images,
        truth=Truth(answers=references, kind=kind or language),
        fields={"language": language} if language else {},
    )


def of_split(
    entries: Iterable[tuple[str, Any]],
    wanted: Collection[str],
    known: Collection[str],
    path: Path,
) -> Iterator[tuple[str, Any]]:
    """Give the entries whose "split" is wanted, and those that do not say theirs.

    Args:
        entries: Source and JSON object of each.
        wanted: Names of splits.
        known: All of them; readers refuse entries of another by `check_split`.
        path: The file, for errors.

    Raises:
        ValueError: if there is no entry of the splits, after the last one.
    """
    is_empty = True
    for source, entry in entries:
        split = entry.get("split") if isinstance(entry, dict) else None
        if not isinstance(split, str) or split in wanted or split not in known:
            is_empty = False
            yield source, entry
    if is_empty:
        raise ValueError(
            f"{path}: expected entries of the split {' or '.join(wanted)}, received "
            "none. Is it the file of another split?"
        )


def check_split(entry: Fields, known: tuple[str, ...]) -> None:
    """Raise ValueError if an entry's "split" is missing or not one of those known."""
    entry.text("split", choices=known)


def group(
    entries: Iterable[tuple[str, Any]],
    key: Callable[[Fields], K],
    read: Callable[[Fields], T],
    problems: Problems,
) -> dict[K, list[T]]:
    """Return what entries say of each picture, in the order of the file.

    Args:
        entries: Source and JSON object of each.
        key: Returns the picture's id.
        read: Returns what an entry says.
        problems: Stops at bad entries, or collects what is wrong with them.
    """
    found: dict[K, list[T]] = {}
    for source, value in entries:
        with problems.of(source):
            if not isinstance(value, dict):
                raise ValueError(f"expected an object, received {shown(value)}.")
            entry = Fields(value, "the entry")
            said = read(entry)
            found.setdefault(key(entry), []).append(said)
    return found
