"""Files that are opened once, and read at offsets by several threads."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_pg2.files.named_files import check_is_file

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_MAX_KEPT = 64 if hasattr(os, "preadv") else 0
"""Files that stay open: macOS gives a process 256 of them. Windows, which has no reads
at an offset, would not let an open file be replaced."""


class OpenedFile:
    """A file that other files may not take the place of while it is read.

    It stays open until nothing refers to it. Beyond 64 of them, and on Windows, a file
    is opened for each reading, and has to be the same.

    Args:
        path: The file.

    Attributes:
        path: The file.
        size: Number of its bytes.

    Raises:
        OSError: if it cannot be read, or is no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_is_file(path)
        descriptor = os.open(path, _FLAGS)
        self._status = os.fstat(descriptor)
        self.size = self._status.st_size
        self._descriptor: int | None = None
        if len(_kept) < _MAX_KEPT:
            _kept.add(self)
            self._descriptor = descriptor
            weakref.finalize(self, os.close, descriptor)
        else:
            os.close(descriptor)

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Return bytes; see `read_into`."""
        content = bytearray(num_bytes)
        self.read_into(memoryview(content), offset)
        return bytes(content)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill memory with the bytes that begin at an offset.

        Raises:
            OSError: if the file ends before, or has changed since it was opened.
        """
        with self._reading() as descriptor:
            done = 0
            while done < len(view):
                count = _read_at(descriptor, view[done:], offset + done)
                if not count:
                    raise OSError(
                        f"Expected {len(view)} bytes at {offset} of {self.path}, but "
                        f"it ends after {done} of them. Download or copy it again."
                    )
                done += count
            self._check_same(os.fstat(descriptor))

    def check_in_place(self) -> None:
        """Check that the file still has its name, by which a library has opened it.

        Raises:
            OSError: if it was changed or replaced since it was opened.
        """
        self._check_same(os.stat(self.path))

    @contextmanager
    def _reading(self) -> Iterator[int]:
        if self._descriptor is not None:
            yield self._descriptor
            return
        descriptor = os.open(self.path, _FLAGS)
        try:
            self._check_same(os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_same(self, status: os.stat_result) -> None:
        if (
            os.path.samestat(status, self._status)
            and status.st_size == self._status.st_size
            and status.st_mtime_ns == self._status.st_mtime_ns
        ):
            return
        raise OSError(
            f"Expected {self.path} as it was when it was opened. It has been changed "
            "or replaced since. Open it again."
        )


_kept: weakref.WeakSet[OpenedFile] = weakref.WeakSet()


def _read_at(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    with io.FileIO(descriptor, closefd=False) as file:
        file.seek(offset)
        return file.readinto(view) or 0
