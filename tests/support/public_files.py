"""Files of public data sets written by hand, and what wrong ones get.

A `PublicFiles` describes the smallest directory of a data set. `damage` writes it with
one thing wrong; `messages` gives what the reader says to each.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from keras_pg2.datasets.public import registry
from keras_pg2.datasets.public.examples import Examples

Place = tuple[str | int, ...]
"""Keys and indices that lead to a field, as ("data", 0, "question")."""
OTHER_VERSION: dict[str, Any] = {"info": {"version": "9.9"}, "items": []}


class Lines(list[Any]):
    """Entries of JSON lines."""


@dataclass(frozen=True, kw_only=True)
class PublicFiles:
    """The files of a data set, as its publisher has them.

    Attributes:
        data_set: Name of the data set.
        files: Returns contents by path: lists and objects are written as JSON,
            `Lines` as JSON lines, texts and bytes as they are.
        pictures: Paths of pictures; each is written a few pixels large.
        split: Name of the split that they are; None for the data set's first.
        annotations: The file that is damaged.
        fields: Places in it of what the reader needs, those of the first entry; the
            first is a text.
        loads: Damages that give another valid value, as "0.question: text".
        entries: Place of the entries, of which the last is put in twice; None if they
            have no ids.
        answer: Place of the answers and what is there if there is none; None if the
            file has no word for it.
        needed: The file without which nothing is read; "" if it is `annotations`.
        other_split: Returns contents by path, which replace files: those of another
            split; None if nothing tells them apart.
        options: Options of the reader.
    """

    data_set: str
    files: Callable[[], Mapping[str, Any]]
    pictures: tuple[str, ...]
    annotations: str
    fields: tuple[Place, ...]
    split: str | None = None
    loads: frozenset[str] = frozenset()
    entries: Place | None = None
    answer: tuple[Place, Any] | None = None
    needed: str = ""
    other_split: Callable[[], Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write everything into a folder."""
        for index, name in enumerate(self.pictures):
            write_picture(folder / name, index)
        for name, content in self.files().items():
            write_content(folder / name, content)
        return folder

    def read(self, folder: Path, **options: Any) -> Examples:
        """Return the examples that the data set's reader finds."""
        return registry.read(
            self.data_set, folder, self.split, **{**self.options, **options}
        )

    def content(self) -> Any:
        """Return a copy of what the file to be damaged has."""
        return copy.deepcopy(self.files()[self.annotations])


def write_picture(path: Path, level: int = 0) -> None:
    """Write a picture of one colour, 6 pixels wide and 4 high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix, "PNG")
    Image.new("RGB", (6, 4), (40 * level % 256, 0, 0)).save(path, kind)


def write_content(path: Path, content: Any) -> None:
    """Write a file as `PublicFiles.files` gives it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, "utf-8")
    elif isinstance(content, Lines):
        path.write_text("".join(json.dumps(line) + "\n" for line in content), "utf-8")
    else:
        path.write_text(json.dumps(content), "utf-8")


def at(content: Any, place: Place) -> Any:
    """Return what stands at a place."""
    for key in place:
        content = content[key]
    return content


def replaced(content: Any, place: Place, value: Any) -> Any:
    """Return a copy with another value at a place."""
    changed = copy.deepcopy(content)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def _no_directory(case: PublicFiles, folder: Path) -> None:
    folder.rename(folder.with_name(f"{folder.name}_elsewhere"))


def _no_annotations(case: PublicFiles, folder: Path) -> None:
    (folder / (case.needed or case.annotations)).unlink()


def _no_pictures(case: PublicFiles, folder: Path) -> None:
    """Remove the folders of all pictures."""
    for name in case.pictures:
        (folder / name).unlink()
        parent = (folder / name).parent
        if parent != folder and not os.listdir(parent):
            parent.rmdir()


def _no_picture(case: PublicFiles, folder: Path) -> None:
    (folder / case.pictures[0]).unlink()


def _not_json(case: PublicFiles, folder: Path) -> None:
    path = folder / case.annotations
    path.write_bytes(path.read_bytes()[:-9])


def _other_version(case: PublicFiles, folder: Path) -> None:
    content = case.content()
    version: Any = OTHER_VERSION
    if isinstance(content, Lines):
        version = Lines([OTHER_VERSION])
    elif isinstance(content, str):
        version = "version,9.9\n"
    write_content(folder / case.annotations, version)


def _wrong_type(case: PublicFiles, folder: Path) -> None:
    write_content(
        folder / case.annotations, replaced(case.content(), case.fields[0], 5)
    )


def _id_twice(case: PublicFiles, folder: Path) -> None:
    content = case.content()
    assert case.entries is not None
    if isinstance(content, str):
        content += content.splitlines()[-1]
    elif isinstance(content, dict) and not case.entries:
        # Only the text of an object can have a name twice.
        name, entry = list(content.items())[-1]
        content = f"{json.dumps(content)[:-1]}, {json.dumps({name: entry})[1:]}"
    else:
        entries = at(content, case.entries)
        entries.append(copy.deepcopy(entries[-1]))
    write_content(folder / case.annotations, content)


def _no_answer(case: PublicFiles, folder: Path) -> None:
    assert case.answer is not None
    write_content(folder / case.annotations, replaced(case.content(), *case.answer))


def _other_split(case: PublicFiles, folder: Path) -> None:
    assert case.other_split is not None
    for name, content in case.other_split().items():
        write_content(folder / name, content)


WRONG: dict[str, Callable[[PublicFiles, Path], None]] = {
    "no directory": _no_directory,
    "no annotations": _no_annotations,
    "no pictures": _no_pictures,
    "one picture missing": _no_picture,
    "file cut off": _not_json,
    "another version": _other_version,
    "wrong type": _wrong_type,
    "id twice": _id_twice,
    "no answer": _no_answer,
    "another split": _other_split,
}
"""What makes files wrong, by name."""


def can_have(case: PublicFiles, wrong: str) -> bool:
    """Return whether files of a data set can be wrong in a way."""
    needed = {
        "wrong type": bool(case.fields),
        "id twice": case.entries is not None,
        "no answer": case.answer is not None,
        "another split": case.other_split is not None,
    }
    return needed.get(wrong, True)


def message(case: PublicFiles, wrong: str, folder: Path) -> str:
    """Return what the reader says to files that are wrong.

    Args:
        case: The files.
        wrong: Key of `WRONG`.
        folder: An empty folder, not there or not.

    Raises:
        AssertionError: if the reader takes the files, or ends otherwise than in words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    WRONG[wrong](case, case.write(folder))
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        case.read(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert len(said) < 1500, said
    return said.replace(str(folder), "DIR")


def table(cases: list[PublicFiles], folder: Path) -> str:
    """Return a Markdown table of what each reader says to what is wrong."""
    rows = ["| data set | wrong | message |", "| --- | --- | --- |"]
    for case in cases:
        for wrong in WRONG:
            said = "cannot be, or nothing tells"
            if can_have(case, wrong):
                name = f"{case.data_set} {wrong}".replace(" ", "_")
                said = message(case, wrong, folder / name)
            rows.append(f"| {case.data_set} | {wrong} | {said} |".replace("\n", " "))
    return "\n".join(rows)
