"""Files and directories that appear whole or not at all.

What is written to `NAME` is written in the folder `.NAME.part` beside it, synced to the
disk, and then takes its name. A directory that was there is `.NAME.old` meanwhile.
The writer holds a lock on a file in `.NAME.part`, which the system releases when the
process ends in whatever way. So what a killed process left is known by its free lock;
a process id would be useless to other containers and hosts, and is used again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCK = "lock"
_MAX_SECONDS = 10.0
"""How long to wait for another process that writes the same target."""


@contextmanager
def staged(target: Path, overwrite: bool | None, num_bytes: int = 0) -> Iterator[Path]:
    """Check that a target can be written, then write it as `replaced` does.

    Args:
        target: File or directory to write; its parents are made.
        overwrite: Whether something at the target is replaced; None if it never is,
            so that the message does not offer it.
        num_bytes: Least number of bytes to be written.

    Raises:
        FileExistsError: if the target exists and is not to be replaced, or is a
            directory of something else than a checkpoint.
        NotADirectoryError: if a folder on the way to the target is a file.
        OSError: if the disk has too little space, before anything is written.
        TimeoutError: if another process is writing the target.
    """
    recover(target)
    _check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < num_bytes:
        raise OSError(
            f"Expected {num_bytes / 1e9:.2f} GB of space for {target}, where "
            f"{free / 1e9:.2f} GB are free. Choose another disk, or a smaller dtype."
        )
    with replaced(target) as part:
        _check_target(target, overwrite)  # Another process may have written it.
        yield part


@contextmanager
def replaced(target: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to, which then takes the name of the target.

    If the block fails or the process is killed, what was at the target stays, under
    its name or as `recover` finds it. The path has the suffix of the target. Another
    writer of the same target is waited for.

    Args:
        target: File or directory to write.
        sync: Whether it outlasts a loss of power, too, which takes milliseconds a file.

    Raises:
        FileNotFoundError: if the folder of the target does not exist.
        TimeoutError: if another process is writing the target.
    """
    with _claimed(target, _MAX_SECONDS) as folder:
        part = folder / f"new{target.suffix}"
        yield part
        if sync:
            _sync(part)
        if target.is_dir():
            target.rename(_beside(target, "old"))
        part.replace(target)
        if sync:
            _sync_folder(target.parent)


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write a text file in UTF-8, in place of one of that name.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    with replaced(Path(path)) as part:
        part.write_text(text, "utf-8", newline="\n")


def recover(target: Path) -> None:
    """Clear up after a process that was killed while it wrote the target.

    What a running process writes is left alone, as is what cannot be changed.
    """
    if any(os.path.lexists(_beside(target, ending)) for ending in ("part", "old")):
        with suppress(OSError), _claimed(target, seconds=0):
            pass


def check_folders(target: Path) -> None:
    """Raise NotADirectoryError if a folder on the way to a target is a file."""
    for parent in target.parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise NotADirectoryError(
                f"Expected a folder to write {target.name} to, but {str(parent)!r} is "
                "a file. Choose another name."
            )


def _check_target(target: Path, overwrite: bool | None) -> None:
    is_empty_directory = target.is_dir() and not any(target.iterdir())
    if target.exists() and not overwrite and not is_empty_directory:
        advice = "remove it" if overwrite is None else "allow to overwrite it"
        raise FileExistsError(
            f"Expected to write {target}, which is there already. Choose another name, "
            f"or {advice}."
        )
    check_folders(target)
    # A directory goes as a whole, so it must be a checkpoint and nothing else's.
    is_checkpoint = (target / "config.json").is_file()
    if target.is_dir() and not is_empty_directory and not is_checkpoint:
        raise FileExistsError(
            f"Expected to overwrite a checkpoint. Received: {target}, a directory "
            "without a config.json. Choose another name, or remove it yourself."
        )


@contextmanager
def _claimed(target: Path, seconds: float) -> Iterator[Path]:
    """Yield the empty folder `.NAME.part`, which no other process uses meanwhile."""
    folder = _beside(target, "part")
    deadline = time.monotonic() + seconds
    while (lock := _lock(folder)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"Expected to write {target}, which another process is writing. Wait "
                "until it has ended, or choose another name."
            )
        time.sleep(0.02)
    try:
        _clear(target, folder)
        yield folder
    finally:
        try:
            _clear(target, folder)
        finally:
            # The lock goes while it is held: who waits for it sees that and retries.
            with suppress(OSError):
                (folder / _LOCK).unlink()
            os.close(lock)
            with suppress(OSError):  # Not empty if the next writer was quick.
                folder.rmdir()


def _lock(folder: Path) -> int | None:
    """Return a locked file of a folder; None if another process has or had it."""
    with suppress(FileExistsError):
        folder.mkdir()
    # Windows does not remove an open file, unless every opener says that it may.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_TEMPORARY", 0)
    try:
        lock = os.open(folder / _LOCK, flags)
    except FileNotFoundError:
        return None
    try:
        if sys.platform == "win32":
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except (BlockingIOError, PermissionError):
        pass
    except OSError:  # A file system without locks is written to all the same.
        return lock
    os.close(lock)
    return None


def _clear(target: Path, folder: Path) -> None:
    """Put back what was moved aside for nothing, and remove all that is left."""
    old = _beside(target, "old")
    if old.exists() and not os.path.lexists(target):
        old.rename(target)
    for rest in (old, *folder.iterdir()):
        if rest.is_dir() and not rest.is_symlink():
            shutil.rmtree(rest)
        elif rest.name != _LOCK:
            rest.unlink(missing_ok=True)


def _beside(target: Path, ending: str) -> Path:
    name = target.name
    if len(os.fsencode(name)) > 240:  # File systems take 255 bytes.
        name = sha256(os.fsencode(name)).hexdigest()
    return target.parent / f".{name}.{ending}"  # "." and "/" have no name.


def _sync(path: Path) -> None:
    """Write a file or directory through to the disk."""
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
        _sync_folder(path)
    else:
        with path.open("rb+") as file:  # Windows syncs no file that is only read.
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows opens no folder, some file systems sync none.
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
