"""Files that are named by what stands in another file.

A weight index comes from a stranger, as the links of a repository do: neither may lead
to another file of the machine, nor to a pipe or a device, which would be waited for.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from keras_pg2.checks.texts import printable, shown
from keras_pg2.files.json_fields import Fields

_BLOB = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
"""Name of a blob of the hub's cache: the SHA-1 or SHA-256 of its content."""

_LONGEST_NAME = 255
"""Bytes of a name on the usual file systems."""


def indexed_files(index: Path) -> list[Path]:
    """Return the paths of the files that the weight_map of an index names.

    Raises:
        FileNotFoundError: if files are missing.
        OSError: if one is no file.
        ValueError: if the index is invalid, or leads out of its directory.
    """
    weight_map = Fields.read(index).fields("weight_map")
    found = [name for key in weight_map for name in _read_names(weight_map, key)]
    for name in found:
        _check_name(name, index.parent, index)
    # Paths, as some tools write "./" before the names.
    names = sorted(set(map(PurePosixPath, found)))
    if not names:
        raise ValueError(f"Expected files in the weight_map of {index}. It is empty.")
    missing = [printable(name) for name in names if not (index.parent / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected the {len(names)} weight files that {index} lists beside it, but "
            f"{len(missing)} of them are missing: {', '.join(missing[:8])}. Download "
            "them again."
        )
    return [file_inside(index.parent, str(name), index) for name in names]


def _read_names(fields: Fields, key: str) -> list[str]:
    """Return the one file or, as Keras writes them, the files of a key."""
    if isinstance(fields.value(key), list):
        return fields.items(key, Fields.text)  # type: ignore[no-any-return]
    return [fields.text(key)]


def file_inside(directory: Path, name: str, source: str | Path = "") -> Path:
    """Return the path of a file by its name in a directory.

    A link is followed inside of the directory, and to a blob of the hub's cache: only
    who has such a file knows what it is called.

    Args:
        directory: Where it is.
        name: Relative path, with "/" between its parts.
        source: File that names it, for errors; "" if the package does.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no file.
        ValueError: if the name or a link leads out of the directory.
    """
    path = directory / name
    said = f", as {source} says" if source else ""
    _check_name(name, directory, source)
    if not path.exists():
        raise FileNotFoundError(f"Expected the file {path}{said}, which is missing.")
    target = path.resolve()
    is_blob = target.parent.name == "blobs" and _BLOB.fullmatch(target.name)
    if not is_blob and not target.is_relative_to(directory.resolve()):
        raise ValueError(
            f"Expected the file {path} in its directory. Received: a link to {target}. "
            "Copy that file to its place."
        )
    check_is_file(path)
    return path


def _check_name(name: str, directory: Path, source: str | Path) -> None:
    """Raise ValueError for a name that is none, or leads out of a directory."""
    if not _is_relative(name) or len(name.encode(errors="replace")) > _LONGEST_NAME:
        said = f", as {source} says" if source else ""
        raise ValueError(
            f"Expected the name of a file in {directory}{said}. Received: "
            f"{shown(name)}."
        )


def check_is_file(path: Path) -> None:
    """Check that a path is a file, not a directory, a pipe or a device.

    Raises:
        FileNotFoundError: if there is nothing.
        OSError: if there is something else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"Expected a file at {path}. Received: something else.")


def _is_relative(name: str) -> bool:
    """Return whether a name stays below its directory on every system."""
    path = PureWindowsPath(name)  # Has the separators of all others, too.
    return (
        bool(path.parts)
        and not path.anchor
        and ".." not in path.parts
        and not set(name) & {"\\", ":", "\0"}
    )
