"""Files and directories that appear whole or not at all.

What is written to `NAME` is written in the folder `.NAME.part` beside it, synced to the
disk, and then takes its name. A directory that was there is `.NAME.old` meanwhile.
The writer holds a lock on a file in `.NAME.part`, which the system releases when the
process ends in whatever way. So what a killed process left is known by its free lock;
a process id would be useless to other containers and hosts, and is used again.

Files that are added to a directory are gathered in it first: when all of them are in
`.keras_pg2.ready`, they are moved to their places, by the next call if need be.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCK = "lock"
_UPDATE = "keras_pg2"
"""Stands for all files that are added to a directory at once."""
_ENDINGS = ("part", "old", "ready")
_MAX_SECONDS = 10.0
"""How long to wait for another process that writes the same target."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHORT_WRITE = " requested and "
"""What NumPy says of a file that took only a part, as a full disk makes it."""


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
    check_space(target, num_bytes)
    with replaced(target) as part:
        _check_target(target, overwrite)  # Another process may have written it.
        yield part


@contextmanager
def replaced(target: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to, which then takes the name of the target.

    If the block fails or the process is killed, what was at the target stays, under
    its name or as `recover` finds it. The path has the last two suffixes of the target.
    Another writer of the same target is waited for. A symbolic link stays one: what it
    points to is replaced.

    Args:
        target: File or directory to write.
        sync: Whether it outlasts a loss of power, too, which takes milliseconds a file.

    Raises:
        FileNotFoundError: if the folder of the target does not exist.
        OSError: if the disk is full, whatever the library that writes makes of it.
        TimeoutError: if another process is writing the target.
    """
    suffixes, target = target.suffixes[-2:], _follow_links(target)
    with claimed(target, _MAX_SECONDS) as folder:
        part = folder / "".join(["new", *suffixes])
        with _full_disk_told(target):
            yield part
            if sync:
                _sync(part)
        if target.is_dir():
            target.rename(_beside(target, "old"))
        part.replace(target)
        if sync:
            _sync_folder(target.parent)


@contextmanager
def updated(directory: Path, stale: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a new folder, all files of which, or none, are in a directory afterwards.

    Other files of the directory stay, unlike with `replaced`.

    Args:
        directory: Directory to write into; it is made, with its parents.
        stale: Patterns of names in the directory, as of `Path.glob`, that are removed
            where the new folder has no such file.

    Raises:
        OSError: if the disk is full, whatever the library that writes makes of it.
        TimeoutError: if another process is writing into the directory.
    """
    directory = _follow_links(directory)
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with replaced(directory) as part:
            part.mkdir()
            yield part
        return
    target = directory / _UPDATE
    with claimed(target, _MAX_SECONDS) as folder:
        update = folder / "new"
        part = update / "files"
        part.mkdir(parents=True)
        with _full_disk_told(directory):
            yield part
            found = {path.name for each in stale for path in directory.glob(each)}
            names = sorted(name for name in found if not (part / name).exists())
            (update / "stale").write_text(json.dumps(names), "utf-8")
            _sync(update)
        update.rename(_beside(target, "ready"))
        _sync_folder(directory)
        # To be let go is to be moved to their places.


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
    target = _follow_links(target)
    for each in (target, target / _UPDATE):
        if any(os.path.lexists(_beside(each, ending)) for ending in _ENDINGS):
            with suppress(OSError), claimed(each, seconds=0):
                pass


def try_lock(file: int) -> bool:
    """Lock an open file until it is closed, or the process ends in whatever way.

    A file system without locks is written to all the same.

    Args:
        file: Descriptor of the file, opened for writing.

    Returns:
        Whether no other process, and nothing else in this one, has it locked.
    """
    try:
        if sys.platform == "win32":
            # A byte that no file has: what is locked cannot be read by others.
            position = os.lseek(file, 0, os.SEEK_CUR)
            os.lseek(file, 2**62, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(file, position, os.SEEK_SET)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


def check_space(target: Path, num_bytes: int) -> None:
    """Raise OSError if the disk of a target has too little space for it."""
    free = shutil.disk_usage(target.absolute().parent).free
    if free < num_bytes:
        raise OSError(
            f"Expected {num_bytes / 1e9:.2f} GB of space for {target}, where "
            f"{free / 1e9:.2f} GB are free. Choose another disk, or a smaller dtype."
        )


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
def claimed(target: Path, seconds: float = 0.0) -> Iterator[Path]:
    """Yield the empty folder `.NAME.part`, which no other process uses meanwhile.

    Args:
        target: File or directory, which need not be there.
        seconds: How long to wait for another process.

    Raises:
        FileNotFoundError: if the folder of the target does not exist.
        TimeoutError: if another process has it.
    """
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
    if try_lock(lock) and os.fstat(lock).st_nlink:
        return lock
    os.close(lock)
    return None


def _clear(target: Path, folder: Path) -> None:
    """Put back what was moved aside for nothing, and remove all that is left."""
    _empty(folder)
    old, ready = _beside(target, "old"), _beside(target, "ready")
    if ready.exists():
        _move_files(ready, target.parent)
        ready.rename(folder / "ready")
    if old.exists() and not os.path.lexists(target):
        old.rename(target)
    elif os.path.lexists(old):
        # Half of it must not be taken for the whole, should this be killed.
        old.rename(folder / "old")
    _empty(folder)


def _empty(folder: Path) -> None:
    for rest in folder.iterdir():
        if rest.is_dir() and not rest.is_symlink():
            shutil.rmtree(rest)
        elif rest.name != _LOCK:
            rest.unlink(missing_ok=True)


def _move_files(ready: Path, directory: Path) -> None:
    """Move gathered files to their places; done again after a kill, it goes on."""
    for name in json.loads((ready / "stale").read_text("utf-8")):
        (directory / name).unlink(missing_ok=True)
    files = ready / "files"
    for path in [path for path in files.rglob("*") if not path.is_dir()]:
        place = directory / path.relative_to(files)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        _sync_folder(place.parent)


@contextmanager
def _full_disk_told(target: Path) -> Iterator[None]:
    """Raise OSError for a full disk, which libraries of C++ and Rust have names for."""
    try:
        yield
    except Exception as error:
        number = _no_space(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from error


def _no_space(error: Exception) -> int | None:
    """Return the number of an error that tells of a full disk and not of which."""
    if isinstance(error, OSError) and error.errno is not None:
        is_told = error.filename is not None or error.errno not in _NO_SPACE
        return None if is_told else error.errno
    text = str(error)
    if isinstance(error, OSError) and _SHORT_WRITE in text:
        return errno.ENOSPC
    return next((n for n in _NO_SPACE if os.strerror(n) in text), None)


def _follow_links(target: Path) -> Path:
    try:
        return Path(os.path.realpath(target))
    except (OSError, ValueError):  # No name of a file, which its opening says.
        return target


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
