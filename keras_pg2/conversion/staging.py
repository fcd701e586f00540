"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def staged(target: Path, overwrite: bool, num_bytes: int = 0) -> Iterator[Path]:
    """Gives a path beside the target to write to, and moves it there in the end.

    When the block fails, what was written is removed, and what was at the target
    stays as it was.

    Args:
        target: the file or directory to be.
        overwrite: whether something at the target is replaced.
        num_bytes: what will be written at least.

    Raises:
        FileExistsError: when the target is there and is not to be replaced, or is a
            directory of something else than a checkpoint.
        OSError: when the disk has too little space, before anything is written.
    """
    if target.exists() and not overwrite and not _is_empty_directory(target):
        raise FileExistsError(
            f"Expected to write {target}, which is there already. Choose another name, "
            "or allow to overwrite it."
        )
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
