"""A folder of pictures with a CSV (or TSV) file that says what is to be answered."""

from __future__ import annotations

import csv
import io
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from keras_pg2.checks.texts import first_names, printable, shown
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.entries import EntryReader, missing_key_advice
from keras_pg2.datasets.image_finder import ImageFinder
from keras_pg2.datasets.jsonl import to_entry
from keras_pg2.datasets.rows import Row, Rows
from keras_pg2.datasets.text_files import decode
from keras_pg2.files.json_files import read_file
from keras_pg2.files.whole_files import write_text

_ENDINGS = (".csv", ".tsv")
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
_ENCODING_ADVICE = (
    'Save the table as UTF-8 (Excel: "CSV UTF-8"), or pass the encoding that it has, '
    "as encoding='cp1252' (--encoding cp1252)."
)
_FIELD_LIMIT = threading.Lock()


class _Form(NamedTuple):
    """How a table is written.

    Attributes:
        delimiter: Between columns.
        has_blanks: Whether blanks follow delimiters.
        columns: Names of the columns.
    """

    delimiter: str
    has_blanks: bool
    columns: list[str]


def read_table(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    prompt: str | None = None,
    default_prompt: str | None = None,
    image_column: str = "image",
    prompt_column: str = "prefix",
    response_column: str = "suffix",
    delimiter: str | None = None,
    encoding: str | None = None,
    on_bad: OnBad = "raise",
) -> Rows:
    """Reads and checks a whole table; pictures must be there, but are not decoded.

    Blanks and line breaks around texts are left out. An answer may be empty where the
    prompt begins with "detect" or "segment": what is asked for is not in the picture.

    Args:
        path: a file, or the folder with a single .csv or .tsv file in it; the first
            line names the columns. Lines without anything are ignored.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        prompt: the prompt of all rows, in the place of theirs. Names of columns in
            braces, as in "answer en {question}", are filled in.
        default_prompt: likewise, of rows that have none or a blank one alone.
        image_column: the column of the picture's path.
        prompt_column: the column of the prompt, which may be empty; it need not be
            there where a prompt is given.
        response_column: the column of the answer.
        delimiter: between columns; None for the one of comma, semicolon, tab and
            vertical bar with which the first line has the columns.
        encoding: of the file, as "cp1252"; None for UTF-8, or UTF-16 with a byte order
            mark.
        on_bad: "skip" leaves lines that cannot be used out and lists them in
            `skipped` of the result.

    Raises:
        FileNotFoundError, PermissionError: when the file, the folder or a picture is
            not there or not readable.
        ValueError: when there is not one table in the folder, a column is missing, a
            line has too many or too few columns, an answer is empty, or no line is
            left; names file and line.
    """
    path = _find_table(Path(path).expanduser())
    finder = ImageFinder(path.parent if image_folder is None else image_folder)
    text = decode(read_file(path), path, encoding, _ENCODING_ADVICE)
    separator = _SEPARATOR_LINE.match(text)
    if separator:  # A line by which Excel tells the delimiter to itself.
        text, delimiter = text[separator.end() :], delimiter or separator.group(1)
    needed = {"image_column": image_column, "response_column": response_column}
    if prompt is None and default_prompt is None:
        needed["prompt_column"] = prompt_column
    entries = EntryReader(
        finder, image_column, prompt_column, response_column, prompt, default_prompt
    )
    with _long_fields(text):
        form = _find_form(path, text, delimiter, needed)
        # strict: a quote that is never closed is no end of the last column.
        lines = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=form.delimiter,
            skipinitialspace=form.has_blanks,
            strict=True,
        )
        try:
            _check_columns(path, form.columns, needed)
            next(lines, None)
            named = (
                (f"{path}, line {lines.line_num + (separator is not None)}", cells)
                for cells in lines
                if any(map(str.strip, cells))
            )
            return entries.read_all(
                named, Problems(on_bad), str(path), partial(_to_entry, form)
            )
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {lines.line_num}: expected a table with columns between "
                f"{form.delimiter!r}: {printable(error)}. Is a quote not closed?"
            ) from error


def write_table(rows: Iterable[Row], path: str | Path) -> None:
    """Write rows as a table, which `read_table` reads, in place of a file there.

    Blanks at the ends of texts are written, and left out by `read_table`.

    Args:
        rows: rows with paths of pictures, one each.
        path: the file, with tabs between columns if it ends in .tsv, otherwise with
            commas. Pictures are named as seen from its folder.

    Raises:
        ValueError: if a row has several pictures, or one that is not a file.
        OSError: if the file cannot be written; what was there stays.
    """
    path = Path(path).expanduser()
    buffer = io.StringIO(newline="")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    columns = ("image", "prefix", "suffix")
    writer = csv.DictWriter(buffer, columns, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        entry = to_entry(row, path.parent)
        if isinstance(entry["image"], list):
            raise ValueError(
                "Expected one picture a row, which a table has a column for, received "
                f"{len(entry['image'])}. Write JSON lines (write_jsonl)."
            )
        writer.writerow(entry)
    write_text(buffer.getvalue(), path)


@contextmanager
def _long_fields(text: str) -> Iterator[None]:
    """Let the csv module read fields as long as the text; its limit is the process'."""
    with _FIELD_LIMIT:
        before = csv.field_size_limit(max(len(text), csv.field_size_limit()))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _find_table(path: Path) -> Path:
    if not path.is_dir():
        return path
    # macOS puts ._train.csv beside train.csv on disks that are not its own.
    found = sorted(
        p
        for p in path.iterdir()
        if p.suffix.lower() in _ENDINGS and not p.name.startswith(".")
    )
    if len(found) != 1:
        names = first_names([p.name for p in found])
        raise ValueError(
            f"{path}: expected one file of {' or '.join(_ENDINGS)} in the folder, "
            f"received {names}. Pass the path of the table."
        )
    return found[0]


def _find_form(
    path: Path, text: str, delimiter: str | None, needed: dict[str, str]
) -> _Form:
    """Return how a table is written: as its first line has the columns needed."""
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiters = [delimiter] if delimiter else [usual, *_DELIMITERS]
    forms = [_form_with(text, each) for each in delimiters]
    fits = (form for form in forms if set(needed.values()) <= set(form.columns))
    return next(fits, forms[0])


def _form_with(text: str, delimiter: str) -> _Form:
    try:
        columns = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (StopIteration, csv.Error):
        columns = []
    has_blanks = any(name.startswith(" ") for name in columns[1:])
    return _Form(delimiter, has_blanks, [name.strip() for name in columns])


def _check_columns(path: Path, columns: list[str], needed: dict[str, str]) -> None:
    counts = Counter(name for name in columns if name)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f"{path}, line 1: expected every column once, received "
            f"{shown(twice[0])} {counts[twice[0]]} times. Give each a name of its own."
        )
    for argument, name in needed.items():
        if name not in columns:
            advice = missing_key_advice(name, argument, columns)
            raise ValueError(
                f"{path}, line 1: expected a column {name!r}, received "
                f"{first_names(columns)}. Are there commas, semicolons or tabs "
                f"between columns? {advice}"
            )


def _to_entry(form: _Form, cells: list[str]) -> dict[str, str]:
    if len(cells) != len(form.columns):
        raise ValueError(
            f"expected {len(form.columns)} columns, received "
            f"{'more' if len(cells) > len(form.columns) else 'fewer'}. Put quotes "
            f"around texts with {form.delimiter!r} in them."
        )
    # People put blanks around delimiters; no answer is meant to begin or end with one.
    return dict(zip(form.columns, map(str.strip, cells)))
