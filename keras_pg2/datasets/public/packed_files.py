"""Files that are read line by line, packed (`.gz`, `.bz2`) or not; tables of text."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from keras_pg2.checks.texts import first_names, printable
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.public.published_files import Entries
from keras_pg2.datasets.text_files import decode
from keras_pg2.files.json_files import parse_value

_OPENERS: Mapping[str, Callable[[Path, str], IO[bytes]]] = {
    ".gz": gzip.open,  # type: ignore[dict-item]
    ".bz2": bz2.open,  # type: ignore[dict-item]
}


def stream_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give the lines of a file that are not blank, with what errors call each.

    Args:
        path: The file; unpacked while it is read if its name ends in `.gz` or `.bz2`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not packed as its name says.
    """
    opened = _OPENERS.get(path.suffix, open)
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _not_packed(path, error) from error
    except OSError as error:
        if path.suffix == ".bz2" and error.errno is None:
            raise _not_packed(path, error) from error
        raise


def _not_packed(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"Expected a whole file packed as the end of its name says at {path}. "
        f"Received: {printable(error)}."
    )


def read_streamed(path: Path, wanted: bytes, problems: Problems) -> Iterator[Any]:
    """Give source and value of each line of JSON that has some bytes in it.

    Other lines are not parsed, which is most of the time of a file of gigabytes.

    Args:
        path: As for `stream_lines`.
        wanted: The bytes.
        problems: Stops at lines that are not JSON, or collects them.

    Raises:
        OSError, ValueError: as `stream_lines`; and ValueError if a line is not JSON.
    """
    for source, line in stream_lines(path):
        if wanted in line:
            with problems.of(source):
                value = parse_value(line, "the line")
                yield source, value


def read_csv(path: Path, *columns: str, delimiter: str = ",") -> Entries:
    """Return the rows of a table as objects of texts, by the names of its first line.

    Args:
        path: The table, packed or not, in UTF-8 or UTF-16 with a byte order mark.
        columns: Columns that it is to have.
        delimiter: Between columns.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a column is missing, or a row has more or fewer than the first.
    """
    content = b"".join(line for _, line in stream_lines(path))
    lines = csv.reader(
        io.StringIO(decode(content, path), newline=""), delimiter=delimiter, strict=True
    )
    try:
        names = [name.strip() for name in next(lines, [])]
        missing = [name for name in columns if name not in names]
        if missing:
            raise ValueError(
                f"{path}: expected a column {missing[0]!r}, received "
                f"{first_names(names)}. Is it another version of the file?"
            )
        entries: Entries = []
        for cells in lines:
            source = f"{path}, line {lines.line_num}"
            if len(cells) != len(names):
                raise ValueError(
                    f"{source}: expected {len(names)} columns, received {len(cells)}."
                )
            entries.append((source, dict(zip(names, cells))))
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {lines.line_num}: expected a table with columns between "
            f"{delimiter!r}: {printable(error)}."
        ) from error
    return entries
