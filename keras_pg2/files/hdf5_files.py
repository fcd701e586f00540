"""HDF5 files that are written through Python, so that a full disk is an error of ours.

HDF5 buffers what it writes. Where it cannot write a buffer as it closes a dataset or a
file, it may lose data in silence, keeps the file open, tries again when the interpreter
ends, and crashes it. So nothing may fail in the midst of it, and a signal waits.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py


class DiskFile(io.BytesIO):
    """A file on a disk that HDF5 writes to, and that never fails it.

    The first error is kept, and nothing is written after it. It is a `BytesIO`, as that
    is the only kind of file that Keras takes beside a path.

    Args:
        path: File to write.
        signals: Those that wait; nothing is written after the first.

    Attributes:
        error: What the disk said; None if all was written until now.
    """

    def __init__(self, path: Path, signals: list[int]) -> None:
        super().__init__()
        self._path = path
        self._signals = signals
        self._file = path.open("wb+", buffering=0)
        self.error: OSError | None = None

    def __str__(self) -> str:
        """Return the path, whose ending Keras checks."""
        return str(self._path)

    def write(self, data: Any) -> int:
        """Write all, or keep the error."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self._is_good:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def readinto(self, buffer: Any) -> int:
        """Read what was written, and zeros behind it."""
        rest = memoryview(buffer).cast("B")
        size = len(rest)
        while len(rest):
            count = self._file.readinto(rest) if not self._file.closed else 0
            if not count:
                rest[:] = bytes(len(rest))
                break
            rest = rest[count:]
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset."""
        return 0 if self._file.closed else self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset."""
        return 0 if self._file.closed else self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file, or keep the error."""
        try:
            if self._is_good:
                self._file.truncate(size)
        except OSError as error:
            self.error = error
        return size or 0

    def flush(self) -> None:
        """Do nothing, as nothing is buffered here."""

    def finish(self) -> None:
        """Close the file, and what HDF5 still has open of it after an error."""
        name = repr(self).encode("ascii", "replace")  # As h5py names it.
        for file in h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE):
            if file.name == name:
                h5py.File(file).close()
        self._file.close()

    @property
    def _is_good(self) -> bool:
        return not (self.error or self._signals or self._file.closed)


@contextmanager
def disk_file(path: Path) -> Iterator[DiskFile]:
    """Yield a file for h5py or Keras to write, which they close themselves.

    Signals whose handlers are of Python wait until it is closed.

    Raises:
        OSError: if it cannot be written, also if that made HDF5 fail in its own way, or
            a signal came and its handler lets the program go on.
    """
    with _waiting_signals() as signals:
        file = DiskFile(path, signals)
        try:
            yield file
        except Exception:
            if file.error is None and not signals:
                raise
        finally:
            file.finish()
    if file.error is not None:
        raise file.error
    if signals:
        raise InterruptedError(
            f"Expected to write {str(path)!r} to its end, received the signal "
            f"{signal.Signals(signals[0]).name}. Write it again."
        )


@contextmanager
def _waiting_signals() -> Iterator[list[int]]:
    """Yield the signals that have come, and have them handled in the end.

    A second one ends the process on the spot.
    """
    come: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        if come:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        come.append(number)

    handlers = {}
    # They go to the main thread alone. Windows has no SIGHUP.
    is_main = threading.current_thread() is threading.main_thread()
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP") if is_main else ():
            number = getattr(signal, name, None)
            handler = None if number is None else signal.getsignal(number)
            if number is not None and callable(handler):
                handlers[number] = handler
                signal.signal(number, wait)
        yield come
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in come:
            signal.raise_signal(number)


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield a new HDF5 file to write to.

    Raises:
        OSError: if it cannot be written.
    """
    with disk_file(path) as raw, h5py.File(raw, "w") as file:
        yield file
