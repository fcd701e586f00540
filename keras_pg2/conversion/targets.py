"""What a conversion may write over: files of a checkpoint alone, and no source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keras_pg2.conversion.checkpoint_files import is_checkpoint_file
from keras_pg2.files.whole_files import readable

_MAX_NAMED = 8


def check_directory(target: Path, is_checkpoint: Callable[[Path], bool]) -> None:
    """Check that a directory, which is replaced as a whole, is a checkpoint alone.

    Args:
        target: The directory.
        is_checkpoint: Says whether a directory has the configuration of one.

    Raises:
        FileExistsError: if it is not a checkpoint, or has other files too.
    """
    try:
        is_one = is_checkpoint(target)
    except (OSError, ValueError):  # A config.json of something else.
        is_one = False
    if not is_one:
        raise FileExistsError(
            f"Expected to overwrite a checkpoint. Received: {target}, a directory "
            "without a config.json of one. Choose another name, or remove it yourself."
        )
    others = _other_files(target)
    if others:
        shown = ", ".join(map(repr, others[:_MAX_NAMED]))
        more = ", ..." if len(others) > _MAX_NAMED else ""
        raise FileExistsError(
            f"Expected to overwrite a checkpoint, all of which would go. Received: "
            f"{target}, which has other files too: {shown}{more}. Move them away, or "
            "choose another name."
        )


def _other_files(directory: Path) -> list[str]:
    found = []
    for folder, _, names in os.walk(directory):
        inside = Path(folder).relative_to(directory)
        paths = [(inside / name).as_posix() for name in names]
        found += [path for path in paths if not is_checkpoint_file(path)]
        if len(found) > _MAX_NAMED:
            break
    return sorted(found)


def check_apart(source: Path, target: Path) -> None:
    """Check that what is read is not what is replaced, by whatever name, nor in it.

    Raises:
        ValueError: if it is.
    """
    place = readable(target)
    if not source.exists() or not place.exists():
        return
    source = source.resolve()
    if os.path.samefile(source, place):
        raise ValueError(
            f"Expected a target apart from the source. Received: {target} for both."
        )
    if any(os.path.samefile(parent, place) for parent in source.parents):
        raise ValueError(
            f"Expected a target apart from the source. Received: {target}, which has "
            f"the source {source} in it and would be replaced."
        )


def check_kind(target: Path, title: str, is_directory: bool) -> None:
    """Check that what is at a target is of the kind that is written there.

    Args:
        target: What is written; nothing need be there.
        title: What the format is called.
        is_directory: Whether it is a directory.

    Raises:
        FileExistsError: if there is a file where a directory is written, a directory
            where a file is, or a pipe or a device.
    """
    if not target.exists():
        return
    if is_directory and not target.is_dir():
        raise FileExistsError(
            f"Expected a directory for a {title}. Received: {target}, which is not "
            "one. Choose another name."
        )
    if not is_directory and not target.is_dir() and not target.is_file():
        raise FileExistsError(
            f"Expected a file for a {title}. Received: {target}, a pipe or a device. "
            "Choose another name."
        )
