"""Files and pictures of a data set, as its publisher names them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import first_names, printable
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.text_files import to_utf8
from keras_pg2.files.json_files import parse_value, read_file

Entries = list[tuple[str, Any]]
"""Where each entry of a file stands, and the entry as JSON has it."""


def find_file(directory: Path, *names: str) -> Path:
    """Return the first file of a directory that is there.

    Args:
        directory: The directory of the data set.
        names: Paths below it, as versions of the data set have them.

    Raises:
        FileNotFoundError: if there is none; says what is there.
    """
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise FileNotFoundError(
        f"Expected the file {' or '.join(names)} in {str(directory)!r}, received "
        f"{_listed(directory)}. Pass the directory that has the files as they are "
        "published."
    )


def find_folder(directory: Path, *names: str) -> Path:
    """Return the first folder of pictures of a directory that is there.

    Args:
        directory: The directory of the data set.
        names: Paths below it, as versions of the data set have them; "" for the
            directory itself.

    Raises:
        FileNotFoundError: if there is none; says what is there.
    """
    return _find_folders(directory, names)[0]


class Pictures:
    """Picture files in folders of a directory.

    Args:
        directory: The directory of the data set.
        folders: Folders below it, as versions of the data set have them, "" for the
            directory itself. A picture is looked for in each that is there.

    Raises:
        FileNotFoundError: if none of the folders is there; says what is.
    """

    def __init__(self, directory: Path, *folders: str) -> None:
        found = _find_folders(directory, folders)
        self._finders = [ImageFinder(folder) for folder in found]

    def find(self, key: str, *names: object) -> str:
        """Return the path of a picture.

        Args:
            key: Where the data set has its name, for errors.
            names: The name; several where versions name it differently.

        Raises:
            ValueError: if a name is not a path.
            FileNotFoundError, PermissionError: if there is no such file, or it may not
                be read.
        """
        missing: FileNotFoundError | None = None
        for finder in self._finders:
            for name in names:
                try:
                    return finder.find(name, key)
                except FileNotFoundError as error:
                    missing = missing or error
        assert missing is not None
        raise missing


def read_entries(path: Path, key: str | None = None) -> Entries:
    """Return the entries of a JSON file.

    Args:
        path: The file.
        key: Where in the file the list is; None if the file itself is it.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not JSON, or has no such list.
    """
    content = read_content(path)
    if key is not None:
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, list):
        where = "" if key is None else f" under {key!r}"
        received = "none" if content is None else type(content).__name__
        raise ValueError(
            f"{path}: expected a list of entries{where}, received {received}. Is it "
            "another version of the file?"
        )
    return [(f"{path}, entry {index}", entry) for index, entry in enumerate(content)]


def read_table(path: Path) -> list[tuple[str, str, Any]]:
    """Return source, name and value of each entry of a JSON object.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a JSON object, or has a name twice.
    """
    content = read_content(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object of entries by their ids, received "
            f"{type(content).__name__}. Is it another version of the file?"
        )
    return [
        (f"{path}, entry {printable(name)}", name, entry)
        for name, entry in content.items()
    ]


def read_lines(path: Path, problems: Problems) -> Entries:
    """Return the entries of JSON lines, or of a JSON list of them.

    Args:
        path: The file.
        problems: Stops at lines that are not JSON, or collects them.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if a line is not JSON.
    """
    content = to_utf8(read_file(path), path)
    if content.lstrip()[:1] == b"[":
        return read_entries(path)
    entries = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            source = f"{path}, line {number}"
            with problems.of(source):
                entries.append((source, parse_value(line, "the line")))
    return entries


def read_content(path: Path) -> Any:
    """Return what a JSON file holds, with or without a byte order mark.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not JSON, or an object in it has a name twice.
    """
    return parse_value(to_utf8(read_file(path), path), path, _of_unique_names)


def _of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {printable(twice)!r} twice in an object")
    return found


def _find_folders(directory: Path, names: Iterable[str]) -> list[Path]:
    found = [directory / name for name in names if (directory / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"Expected pictures in the folder {' or '.join(names)} of "
            f"{str(directory)!r}, received {_listed(directory)}. Unpack the pictures "
            "as they are published."
        )
    return found


def _listed(directory: Path) -> str:
    """Return what a directory has, for an error."""
    if not directory.is_dir():
        return "no such directory"
    names = sorted(path.name for path in directory.iterdir())
    return first_names(names) if names else "an empty directory"
