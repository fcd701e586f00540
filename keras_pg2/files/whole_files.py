"""Files and directories that appear whole or not at all.

What is written to `NAME` is written in the folder `.NAME.part` beside it, synced to the
disk, and then takes its name. A directory that was there is `old` in it meanwhile.
The writer holds a lock on a file in `.NAME.part`, which the system releases when the
process ends in whatever way. So what a killed process left is known by its free lock;
a process id would be useless to other containers and hosts, and is used again.

Files that are added to a directory are gathered in `.keras_pg2.part` in it: when all of
them are in its folder `ready`, they are moved to their places, by the next writer if
need be.

Only who writes a target clears up beside it, and only what this module can have left:
such folders also come with directories of strangers. Who reads changes nothing.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
_OLD = "old"
"""A directory whose place its successor takes, and that is put back if none does."""
_READY = "ready"
"""Files that are added to a directory, in `files`, and names of those that go: empty
files in `stale`."""
_LEFT = re.compile(rf"{_LOCK}|{_OLD}|{_READY}|gone_({_OLD}|{_READY})|new(\..*)?", re.S)
"""Names in a folder of a writer."""
_MAX_SECONDS = 10.0
"""How long to wait for another process that writes the same target."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors that only writing has."""
_SHORT_WRITE = " requested and "
"""What NumPy says of a file that took only a part, as a full disk makes it."""


def refuse_directory(directory: Path) -> None:
    """Raise FileExistsError: a directory is not replaced by a file."""
    raise FileExistsError(
        f"Expected a file to overwrite. Received: {directory}, a directory. Choose "
        "another name, or remove it yourself."
    )


@contextmanager
def staged(
    target: Path,
    overwrite: bool | None,
    num_bytes: int = 0,
    check_directory: Callable[[Path], None] = refuse_directory,
) -> Iterator[Path]:
    """Check that a target can be written, then write it as `replaced` does.

    Args:
        target: File or directory to write; its parents are made.
        overwrite: Whether something at the target is replaced; None if it never is,
            so that the message does not offer it.
        num_bytes: Least number of bytes to be written.
        check_directory: Raises an error for a directory, not empty, that is not to be
            replaced, though `overwrite` is True. It goes as a whole.

    Raises:
        FileExistsError: if the target exists and is not to be replaced.
        NotADirectoryError: if a folder on the way to the target is a file.
        OSError: if the disk has too little space, or the target is a link that leads
            to itself, before anything is written.
        TimeoutError: if another process is writing the target.
        ValueError: if what lies beside it was not left by a writer.
    """
    recover(target)
    _check_target(target, overwrite, check_directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target, num_bytes)
    with replaced(target) as part:
        # Another process may have written it.
        _check_target(target, overwrite, check_directory)
        yield part


@contextmanager
def replaced(target: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to, which then takes the name of the target.

    If the block fails or the process is killed, what was at the target stays, under
    its name or where `readable` finds it. The path has the last two suffixes of the
    target. Another writer of the same target is waited for. A symbolic link stays one:
    what it points to is replaced.

    Args:
        target: File or directory to write.
        sync: Whether it outlasts a loss of power, too, which takes milliseconds a file.

    Raises:
        FileNotFoundError: if the folder of the target does not exist.
        OSError: if the disk is full, whatever the library that writes makes of it; if
            the target is a pipe, a device or a link that leads to itself.
        TimeoutError: if another process is writing the target.
        ValueError: if what lies beside it was not left by a writer.
    """
    given, target = target, _follow_links(target)
    _check_replaceable(target)
    with claimed(target, _MAX_SECONDS) as folder:
        part = folder / "".join(["new", *given.suffixes[-2:]])
        with _full_disk_told(given, folder):
            yield part
            if sync:
                _sync(part)
        if target.is_dir():
            target.rename(folder / _OLD)
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
        ValueError: if what lies in it was not left by a writer, or a place of a file is
            taken by a directory, or of a directory by a file or a link.
    """
    given, directory = directory, _follow_links(directory)
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
        with _full_disk_told(given, folder):
            yield part
            (update / "stale").mkdir()
            for name in {path.name for each in stale for path in directory.glob(each)}:
                if not (part / name).exists():
                    (update / "stale" / name).touch()
            _check_update(update, directory)
            _sync(update)
        update.rename(folder / _READY)
        _sync_folder(directory)
        # To be let go is to be moved to their places.


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write a text file in UTF-8, in place of one of that name.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    with replaced(Path(path)) as part:
        part.write_text(text, "utf-8", newline="\n")


def readable(path: Path) -> Path:
    """Return where a directory is to be read, without changing anything.

    Returns:
        The path; or, if a process was killed when it had moved the directory aside and
        nothing had taken its place, where it is now.
    """
    target = _follow_links(path)
    aside = _beside(target, "part") / _OLD
    is_aside = _is_real_directory(aside.parent) and _is_real_directory(aside)
    return aside if is_aside and not os.path.lexists(target) else path


def check_finished(directory: Path) -> None:
    """Check that no files wait to be moved to their places in a directory.

    Raises:
        ValueError: if some do, so that what is there belongs to two savings.
    """
    ready = _beside(directory / _UPDATE, "part") / _READY
    if os.path.lexists(ready):
        raise ValueError(
            f"Expected {directory} as it was saved. Received: with {ready}, new files "
            "that are not in their places: a process is saving them, or was killed. "
            "Wait, or save there once more; or remove the files that its folder stale "
            f"names, move those in its folder files to {directory}, and remove "
            f"{ready.parent}."
        )


def recover(target: Path) -> None:
    """Clear up, before a target is written, after a process that was killed there.

    What a running process writes is left alone, as is what cannot be changed. For who
    reads there is `readable`.

    Raises:
        ValueError: if what lies there was not left by a writer.
    """
    target = _follow_links(target)
    for each in (target, target / _UPDATE):
        if os.path.lexists(_beside(each, "part")):
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
            f"Expected {_size(num_bytes)} of space for {target}, where {_size(free)} "
            "are free. Choose another disk, or a smaller dtype."
        )


def _size(num_bytes: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if num_bytes >= unit / 100:
            return f"{num_bytes / unit:.2f} {name}"
    return f"{num_bytes / 1e3:.1f} kB"


def check_folders(target: Path) -> None:
    """Raise NotADirectoryError if a folder on the way to a target is a file.

    And OSError if the target, or a folder on the way, is a link that leads to itself.
    """
    _check_links(target)
    for parent in target.parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise NotADirectoryError(
                f"Expected a folder to write {target.name} to, but {str(parent)!r} is "
                "a file. Choose another name."
            )


def _check_links(target: Path) -> None:
    followed = _follow_links(target)
    links = list(filter(os.path.islink, (followed, *followed.parents)))
    if links:
        raise OSError(
            f"Expected a file or directory to write to. Received: {links[0]}, a link "
            "that leads to itself. Remove it, or choose another name."
        )


def _check_replaceable(target: Path) -> None:
    _check_links(target)
    if target.exists() and not target.is_dir() and not target.is_file():
        raise OSError(
            f"Expected a file or directory to write to. Received: {target}, a pipe or "
            "a device. Choose another name."
        )


def _check_target(
    target: Path, overwrite: bool | None, check_directory: Callable[[Path], None]
) -> None:
    is_empty_directory = target.is_dir() and not any(target.iterdir())
    if target.exists() and not overwrite and not is_empty_directory:
        advice = "remove it" if overwrite is None else "allow to overwrite it"
        raise FileExistsError(
            f"Expected to write {target}, which is there already. Choose another name, "
            f"or {advice}."
        )
    check_folders(target)
    if target.is_dir() and not is_empty_directory:
        check_directory(target)


@contextmanager
def claimed(target: Path, seconds: float = 0.0) -> Iterator[Path]:
    """Yield the empty folder `.NAME.part`, which no other process uses meanwhile.

    Args:
        target: File or directory, which need not be there.
        seconds: How long to wait for another process.

    Raises:
        FileNotFoundError: if the folder of the target does not exist.
        TimeoutError: if another process has it.
        ValueError: if there is something else than what a writer leaves.
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
        if os.path.lexists(folder / _READY):
            _check_update(folder / _READY, target.parent)
        try:
            _clear(target, folder)
            yield folder
        finally:
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
        _check_left(folder)
        lock = os.open(folder / _LOCK, flags | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    if try_lock(lock) and os.fstat(lock).st_nlink:
        return lock
    os.close(lock)
    return None


def _check_left(folder: Path) -> None:
    """Check that a folder has what writers leave in one; a living one may have it.

    Raises:
        FileNotFoundError: if it has gone.
        ValueError: if it has something else.
    """
    _check(_is_real_directory(folder, missing_ok=False), folder)
    for path in folder.iterdir():
        is_left = _LEFT.fullmatch(path.name) is not None
        if path.name in (_OLD, _READY):
            is_left = _is_real_directory(path)
        elif path.name == _LOCK:
            is_left = not os.path.lexists(path) or _is_real_file(path)
        _check(is_left or not os.path.lexists(path), path)


def _check_update(update: Path, directory: Path) -> None:
    """Check that gathered files and their places are in no other directory.

    Raises:
        ValueError: if a link, a pipe or the like is among them, or a place is taken.
    """
    _check(_is_real_directory(update), update)
    files, stale = update / "files", update / "stale"
    _check(_is_real_directory(files), files)
    _check(_is_real_directory(stale), stale)
    for path in update.iterdir():
        _check(path in (files, stale), path)
    for path in stale.iterdir():
        _check(_is_real_file(path), path)
        place = directory / path.name
        _check(not _is_real_directory(place), place)
    for folder, folders, names in os.walk(files):
        for name in folders:
            path = Path(folder, name)
            place = directory / path.relative_to(files)
            _check(_is_real_directory(path), path)
            _check(not os.path.lexists(place) or _is_real_directory(place), place)
        for name in names:
            path = Path(folder, name)
            place = directory / path.relative_to(files)
            _check(_is_real_file(path), path)
            _check(not _is_real_directory(place), place)


def _check(is_right: bool, path: Path) -> None:
    if not is_right:
        raise ValueError(
            f"Expected at {path} nothing, or what this package writes there. Received: "
            "something else, such as a link. Nothing was changed; look at it, and "
            "remove it or choose another name."
        )


def _is_real_directory(path: Path, missing_ok: bool = True) -> bool:
    """Return whether there is a directory, no link to one."""
    try:
        status = path.lstat()
    except (OSError, ValueError):  # A name too long, or none at all.
        if missing_ok:
            return False
        raise
    # A junction of Windows is a directory that has such a tag.
    is_link = getattr(status, "st_reparse_tag", 0) & 0x20000000
    return stat.S_ISDIR(status.st_mode) and not is_link


def _is_real_file(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)


def _clear(target: Path, folder: Path) -> None:
    """Put back what was moved aside for nothing, and remove all that is left."""
    _empty(folder, {_LOCK, _OLD, _READY})
    old, ready = folder / _OLD, folder / _READY
    if ready.exists():
        _move_files(ready, target.parent)
        # Half of it must not be taken for the whole, should this be killed.
        ready.rename(folder / f"gone_{_READY}")
    if old.exists():
        has_successor = os.path.lexists(target)
        old.rename(folder / f"gone_{_OLD}" if has_successor else target)
    _empty(folder, {_LOCK})


def _empty(folder: Path, kept: set[str]) -> None:
    for rest in folder.iterdir():
        if rest.name in kept:
            continue
        if _is_real_directory(rest):
            shutil.rmtree(rest)
        else:
            rest.unlink(missing_ok=True)


def _move_files(ready: Path, directory: Path) -> None:
    """Move gathered files to their places; done again after a kill, it goes on."""
    for path in (ready / "stale").iterdir():
        (directory / path.name).unlink(missing_ok=True)
    files = ready / "files"
    for path in [path for path in files.rglob("*") if not path.is_dir()]:
        place = directory / path.relative_to(files)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        _sync_folder(place.parent)


@contextmanager
def _full_disk_told(target: Path, folder: Path) -> Iterator[None]:
    """Raise OSError for a full disk, which libraries of C++ and Rust have names for.

    It names the target, not a file in the folder it is written in.
    """
    try:
        yield
    except Exception as error:
        number = _no_space(error, folder)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from error


def _no_space(error: Exception, folder: Path) -> int | None:
    """Return the number of an error of a full disk that does not name the target."""
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename
        is_told = isinstance(name, str | bytes | os.PathLike) and not Path(
            os.fsdecode(name)
        ).is_relative_to(folder)
        return None if is_told or error.errno not in NO_SPACE else error.errno
    text = str(error)
    if isinstance(error, OSError) and _SHORT_WRITE in text:
        return errno.ENOSPC
    return next((n for n in NO_SPACE if os.strerror(n) in text), None)


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
