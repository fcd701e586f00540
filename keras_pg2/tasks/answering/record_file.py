"""A file of answers that grows by whole lines, and is gone on with after a stop."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGINNING = b'{"id": '
"""How every record begins."""


class RecordFile:
    """A file of JSON lines that grows by whole lines.

    Args:
        path: the file; made, with its folder, if it is not there.

    Raises:
        ValueError: when what is there is no file of records.
        OSError: when it cannot be written.
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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab"):
            pass
        self._half_line = 0
        self._needs_newline = False

    def done(self) -> Counter[tuple[str, str]]:
        """The keys of the rows in it.

        Half a record at its end, as a killed process leaves it, does not count; it is
        removed when the next records are written. A whole one without its newline
        counts.
        """
        keys = Counter[tuple[str, str]]()
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    keys[self._key(line, number)] += 1
                except ValueError:
                    is_whole = line.endswith(b"\n") or _parsed(line) is not None
                    if is_whole or not line.startswith(BEGINNING[: len(line)]):
                        raise
                    self._half_line = len(line)
                else:
                    self._needs_newline = not line.endswith(b"\n")
        return keys

    def _key(self, line: bytes, number: int) -> tuple[str, str]:
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
        return (str(record["id"]), record["prompt"])

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes whole lines in one go."""
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        # Lone surrogates of file names that are not UTF-8 are written as escapes.
        data = text.encode("utf-8", errors="backslashreplace")
        if self._half_line:
            os.truncate(self.path, self.path.stat().st_size - self._half_line)
        if self._needs_newline:
            data = b"\n" + data
        self._half_line, self._needs_newline = 0, False
        with self.path.open("ab", buffering=0) as file:
            while data:  # A disk that fills takes a part, and then says so.
                data = data[file.write(data) :]


def _parsed(line: bytes) -> Any:
    """What a line of JSON says; None for another line."""
    try:
        return json.loads(line)
    except ValueError:
        return None
