"""A disk that is full: a limit on the size of files, or, for root, a real small one."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond some bytes: whoever writes more is told EFBIG.

    Python 3.11 would keep half of a module's bytecode, and fail to import it later.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        sys.dont_write_bytecode = writes_nothing


@contextmanager
def small_file_system(folder: Path, num_bytes: int) -> Iterator[None]:
    """Mount a file system of some bytes in memory on a folder.

    Raises:
        PermissionError: if this process cannot mount any.
    """
    _run("mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


def enlarge(folder: Path, num_bytes: int) -> None:
    """Give a file system that is mounted more bytes."""
    _run("mount", "-o", f"remount,size={num_bytes}", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
