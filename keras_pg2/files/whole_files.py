"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def staged(target: Path, overwrite: bool | None, num_bytes: int = 0) -> Iterator[Path]:
    """Gives a path beside the target to write to, and moves it there in the end.

    When the block fails, what was written is removed, and what was at the target
    stays as it was.

    Args:
        target: the file or directory to be.
        overwrite: whether something at the target is replaced; None where it never
            is, so that the message does not offer it.
        num_bytes: what will be written at least.

    Raises:
        FileExistsError: when the target is there and is not to be replaced, or is a
            directory of something else than a checkpoint.
        NotADirectoryError: when a folder on the way to the target is a file.
        OSError: when the disk has too little space, before anything is written.
    """
    if target.exists() and not overwrite and not _is_empty_directory(target):
        advice = "remove it" if overwrite is None else "allow to overwrite it"
        raise FileExistsError(
            f"Expected to write {target}, which is there already. Choose another name, "
            f"or {advice}."
        )
    check_folders(target)
    if target.is_dir() and not _is_empty_directory(target):
        _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < num_bytes:
        raise OSError(
            f"Expected {num_bytes / 1e9:.2f} GB of space for {target}, where "
            f"{free / 1e9:.2f} GB are free. Choose another disk, or a smaller dtype."
        )
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        yield part
        _replace(part, target)
    finally:
        _remove(part)


def check_folders(target: Path) -> None:
    """Raises NotADirectoryError when a folder on the way to a target is a file."""
    for parent in target.parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise NotADirectoryError(
                f"Expected a folder to write {target.name} to, but {str(parent)!r} is "
                "a file. Choose another name."
            )


def _check_replaceable(target: Path) -> None:
    """A directory goes as a whole, so it must be a checkpoint and nothing else's."""
    if not (target / "config.json").is_file():
        raise FileExistsError(
            f"Expected to overwrite a checkpoint. Received: {target}, a directory "
            "without a config.json. Choose another name, or remove it yourself."
        )


def _replace(part: Path, target: Path) -> None:
    """One file replaces another in one step; directories need the old one aside."""
    if not target.is_dir():
        part.replace(target)
        return
    old = target.with_name(f".{target.name}.{uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        part.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
