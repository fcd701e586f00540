"""A folder of pictures with a CSV (or TSV) file that says what is to be answered."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from keras_pg2.datasets.rows import ImageFinder, OnBad, Problems, Rows, check_text

_ENDINGS = (".csv", ".tsv")


def read_table(
    path: str | Path,
    image_folder: str | Path | None = None,
    *,
    prompt: str | None = None,
    image_column: str = "image",
    prompt_column: str = "prefix",
    response_column: str = "suffix",
    delimiter: str | None = None,
    on_bad: OnBad = "raise",
) -> Rows:
    """Reads and checks a whole table; pictures must be there, but are not decoded.

    Args:
        path: a file, or the folder with a single .csv or .tsv file in it; UTF-8, the
            first line names the columns.
        image_folder: what the paths of pictures are relative to; None for the folder
            of the file.
        prompt: the prompt of all rows, in the place of theirs.
        image_column: the column of the picture's path.
        prompt_column: the column of the prompt, which may be empty; it need not be
            there where `prompt` is given.
        response_column: the column of the answer.
        delimiter: between columns; None for a tab in .tsv files and a comma in others.
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
    problems = Problems(on_bad)
    finder = ImageFinder(path.parent if image_folder is None else image_folder)
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8, received another encoding at byte {error.start}. "
            "Save the table as UTF-8."
        ) from error
    # strict: a quote that is never closed is no end of the last column.
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True
    )
    rows, sources = [], []
    try:
        needed = {"image_column": image_column, "response_column": response_column}
        if prompt is None:
            needed["prompt_column"] = prompt_column
        _check_columns(path, list(reader.fieldnames or []), needed)
        for entry in reader:
            source = f"{path}, line {reader.line_num}"
            with problems.of(source):
                # DictReader puts what is too much under None, and None for too little.
                if None in entry or None in entry.values():
                    raise ValueError(
                        f"expected {len(reader.fieldnames or [])} columns, received "
                        f"{'more' if None in entry else 'fewer'}. Put quotes around "
                        f"texts with {delimiter!r} in them."
                    )
                given = entry[prompt_column] if prompt is None else prompt
                rows.append(
                    {
                        "images": finder.find(entry[image_column], image_column),
                        "prompts": check_text(given, prompt_column, True),
                        "responses": check_text(
                            entry[response_column], response_column
                        ),
                    }
                )
                sources.append(source)
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: expected a table with columns between "
            f"{delimiter!r}: {error}. Is a quote not closed?"
        ) from error
    problems.check_some_left(len(rows), str(path))
    return Rows(rows, problems.messages, sources)


def _find_table(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in _ENDINGS)
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise ValueError(
            f"{path}: expected one file of {' or '.join(_ENDINGS)} in the folder, "
            f"received {names}. Pass the path of the table."
        )
    return found[0]


def _check_columns(path: Path, columns: list[str], needed: dict[str, str]) -> None:
    if len(set(columns)) < len(columns):
        raise ValueError(
            f"{path}, line 1: expected every column once, received "
            f"{', '.join(columns)}."
        )
    for argument, name in needed.items():
        if name not in columns:
            raise ValueError(
                f"{path}, line 1: expected a column {name!r}, received "
                f"{', '.join(columns) or 'none'}. Are there commas (in a .tsv tabs) "
                f"between columns? Rename it, or pass the name it has as {argument} to "
                "read_table."
            )
