"""An append-only JSON Lines file of answers that can be resumed after a stop."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from keras_pg2.checks.texts import printable, shown
from keras_pg2.files.whole_files import replaced, try_lock

BEGINNING = b'{"id": '
"""How every record begins."""


class RecordFile:
    """A file of JSON lines that grows by whole lines, written by one process at a time.

    It is locked until it is closed, or the process ends in whatever way. Rows that
    failed, as their pictures could not be read, are not done: their records make way
    for new ones of the same id and prompt.

    Args:
        path: File to write; made, with its folder, if it is not there.

    Raises:
        ValueError: if what is there is no file of records.
        BlockingIOError: if another process, or another call in this one, writes it.
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.expanduser(path))
        if self.path.is_dir():
            raise ValueError(
                f"Expected output as a file, received the folder {str(path)!r}. Add a "
                "name, as answers.jsonl."
            )
        if self.path.exists() and not self.path.is_file():
            raise ValueError(
                "Expected output as a file that can be read and gone on with, received "
                f"{str(path)!r}, which is a device or a pipe. Choose a file."
            )
        if _is_printed_to(self.path):
            raise ValueError(
                "Expected output as a file of its own, received "
                f"{str(path)!r}, which the program prints to. Choose another name."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._end = 0
        self._needs_newline = False
        self._has_half_line = False
        self._failed: set[tuple[str, str]] = set()
        self._pictures: dict[tuple[str, str], set[str | None]] = {}
        self._opened = ExitStack()
        self._file = self._open()
        try:
            self._done = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let others write it."""
        self._opened.close()

    def _open(self) -> BinaryIO:
        # Nothing is left in a buffer that a full disk would refuse again.
        file = self.path.open("ab+", buffering=0)
        self._opened.enter_context(file)
        if not try_lock(file.fileno()):
            self.close()
            raise BlockingIOError(
                "Expected an output that nothing else writes. Received "
                f"{str(self.path)!r}, which another prediction is writing. Wait until "
                "it has ended, or choose another output."
            )
        return file

    def done(self) -> Counter[tuple[str, str]]:
        """Return the keys of the rows that were answered when the file was opened.

        Half a record at its end, as a killed process or a loss of power leaves it, does
        not count; it is removed when the next records are written. A whole one without
        its newline counts.
        """
        return Counter(self._done)

    def check_picture(self, key: tuple[str, str], image: str | None) -> None:
        """Check that a record of a key is about a picture, as far as that is known.

        Args:
            key: Id and prompt, which the file has.
            image: Path or address of the picture; None if it has none.

        Raises:
            ValueError: if the record names another picture.
        """
        known = self._pictures[key]
        if image is None or None in known or image in known:
            return
        if os.path.abspath(image) in {os.path.abspath(str(one)) for one in known}:
            return
        before = " and ".join(sorted(repr(one) for one in known))
        raise ValueError(
            f"Expected answers about the same pictures in {str(self.path)!r}, received "
            f"one of {key[0]!r} about {printable(before)}, which is now "
            f"{shown(image)}. Choose another output, or remove this one."
        )

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write whole lines in one go, through to the disk.

        Raises:
            OSError: if they cannot be written.
        """
        if failed := self._failed & {_key(record) for record in records}:
            self._leave_out(failed)
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        # Lone surrogates of file names that are not UTF-8 are written as escapes.
        data = text.encode("utf-8", errors="backslashreplace")
        if self._has_half_line:
            self._file.truncate(self._end)
        if self._needs_newline:
            data = b"\n" + data
        self._has_half_line = True
        rest = memoryview(data)
        try:
            while rest:  # A disk that fills takes a part, and then says so.
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._end += len(data)
        self._needs_newline = self._has_half_line = False

    def _leave_out(self, failed: set[tuple[str, str]]) -> None:
        """Write the file anew without these failures, whole or not at all."""
        with (
            open(self._file.fileno(), "rb", closefd=False) as file,
            replaced(self.path) as part,
            part.open("wb") as kept,
        ):
            file.seek(0)
            rest = self._end
            while rest:
                line = file.readline()
                rest -= len(line)
                record = _parsed(line) or {}
                if "error" not in record or _key(record) not in failed:
                    kept.write(line if line.endswith(b"\n") else line + b"\n")
            if os.name == "nt":  # Where an open file cannot be replaced.
                self._file.close()
        # The old one stays open, and locked for who has opened it before.
        self._file = self._open()
        self._end = self.path.stat().st_size
        self._failed -= failed
        self._needs_newline = self._has_half_line = False

    def _read(self) -> Counter[tuple[str, str]]:
        keys = Counter[tuple[str, str]]()
        with open(self._file.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        record = self._record(line, number)
                    except ValueError:
                        if not _is_half_record(line, is_first=not self._end):
                            raise
                        self._has_half_line = True
                        break
                    key = _key(record)
                    if "error" in record:
                        self._failed.add(key)
                    else:
                        keys[key] += 1
                        image = record["image"]
                        known = image if isinstance(image, str) else None
                        self._pictures.setdefault(key, set()).add(known)
                self._end += len(line)
                self._needs_newline = not line.endswith(b"\n")
        return keys

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        """Return the record of a line."""
        record = _parsed(line)
        if not (
            isinstance(record, dict)
            and record.keys() >= {"id", "image", "prompt"}
            and isinstance(record["prompt"], str)
        ):
            raise ValueError(
                f"Expected {str(self.path)!r} to be new, or a file of records to go on "
                f"with. Line {number} is no record. Choose another output."
            )
        return record


def _key(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a record is found again by: its id and prompt."""
    return str(record["id"]), record["prompt"]


def _is_half_record(line: bytes, is_first: bool) -> bool:
    """Return whether a line is what an interrupted write leaves at a file's end."""
    # A loss of power leaves zeros where bytes had not reached the disk.
    start = line.rstrip(b"\0")
    if is_first and not start:  # Zeros alone may be anything.
        return False
    is_cut_off = not line.endswith(b"\n") and _parsed(line) is None
    return is_cut_off and start.startswith(BEGINNING[: len(start)])


def _is_printed_to(path: Path) -> bool:
    """Return whether a file is the program's standard output or standard error."""
    if not path.exists():
        return False
    found = path.stat()
    for stream in (1, 2):
        with suppress(OSError):  # It may be closed.
            if os.path.samestat(found, os.fstat(stream)):
                return True
    return False


def _parsed(line: bytes) -> Any:
    """Return what a line of JSON says; None for another line."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
