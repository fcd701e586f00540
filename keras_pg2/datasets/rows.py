"""Rows as `fit` and the preprocessor take them, and what is wrong with the others.

A row is `{"images": path, "prompts": text, "responses": text}`; `images` may be a list
of paths where an example has several pictures. Readers give `Rows`, which are a plain
sequence: `torch.utils.data.DataLoader(rows, batch_size=8)` takes them as they are,
`tf.data.Dataset.from_tensor_slices(columns(rows))` and `fit(columns(rows))` by columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from keras_pg2.preprocessing.examples import KEYS
from keras_pg2.preprocessing.image_files import (
    check_image_file,
    is_address,
)
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.images import ImageInput, load_rgb

Row: TypeAlias = dict[str, Any]
OnBad: TypeAlias = Literal["raise", "skip"]


class Rows(Sequence[Row]):
    """Rows of a file, in its order.

    Args:
        rows: the rows.
        skipped: what was wrong with each entry that was left out.
        sources: file and line of each row; none where they are not known.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        skipped: Iterable[str] = (),
        sources: Iterable[str] = (),
    ) -> None:
        self._rows = tuple(rows)
        self.skipped = tuple(skipped)
        self.sources = tuple(sources)

    @property
    def num_skipped(self) -> int:
        """How many entries were left out."""
        return len(self.skipped)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self._rows[index], self.skipped, self.sources[index])
        return dict(self._rows[index])

    def __repr__(self) -> str:
        return f"Rows({len(self)} rows, {self.num_skipped} skipped)"


def source_of(rows: Sequence[Row], index: int) -> str:
    """File and line of a row where they are known, else its index, from 0."""
    sources = getattr(rows, "sources", ())
    return sources[index] if sources else f"Row {index}"


def choose_rows(
    rows: Sequence[Row], indices: Iterable[int], skipped: Iterable[str] = ()
) -> Rows:
    """Some rows by their indices, with where they are from.

    Args:
        rows: all rows.
        indices: of those to take, from 0.
        skipped: what was wrong with entries that were left out.
    """
    indices = list(indices)
    sources = [source_of(rows, index) for index in indices]
    return Rows([rows[index] for index in indices], skipped, sources)


def columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Rows by columns: `{"images": [...], "prompts": [...], "responses": [...]}`.

    Raises:
        ValueError: when there is no row, or a row has other keys than the first.
    """
    found: dict[str, list[Any]] = {}
    for index, row in enumerate(rows):
        if index and row.keys() != found.keys():
            raise ValueError(
                f"Expected the keys {', '.join(found)} in every row, received "
                f"{', '.join(row)} in row {index}."
            )
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    if not found:
        raise ValueError("Expected at least one row, received none.")
    return found


class Problems:
    """Stops at the first bad entry, or collects what is wrong with each.

    Args:
        on_bad: "raise" or "skip".

    Raises:
        ValueError: for another word.
    """

    def __init__(self, on_bad: OnBad) -> None:
        if on_bad not in ("raise", "skip"):
            raise ValueError(
                f"Expected on_bad to be 'raise' or 'skip', received {on_bad!r}."
            )
        self.on_bad = on_bad
        self.messages: list[str] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Puts `name` (file and line) before an error; with "skip" only notes it."""
        try:
            yield
        except (ValueError, OSError) as error:
            # ValueError has subclasses that take more than a text.
            kinds = (FileNotFoundError, PermissionError, OSError)
            kind = next((k for k in kinds if isinstance(error, k)), ValueError)
            message = f"{name}: {error}"
            if self.on_bad == "raise":
                advice = (
                    "Correct it, or pass on_bad='skip' (--skip-bad) to leave it out."
                )
                raise kind(f"{message} {advice}") from error
            self.messages.append(message)

    def check_some_left(self, count: int, name: str) -> None:
        """Raises ValueError when `count` is 0."""
        if count == 0:
            why = f" First problem: {self.messages[0]}" if self.messages else ""
            raise ValueError(
                f"{name}: expected at least one entry that can be used, received none "
                f"({len(self.messages)} were skipped).{why}"
            )


def check_text(value: object, key: str, is_empty_allowed: bool = False) -> str:
    """The text itself, once it is sure that the preprocessor takes it.

    Raises:
        ValueError: when it is no text, is empty, is no valid Unicode or holds
            "<image>".
    """
    if not isinstance(value, str):
        raise ValueError(
            f"expected {key!r} as text, received {type(value).__name__} {value!r:.60}."
        )
    if not (is_empty_allowed or value.strip()):
        raise ValueError(f"expected a text under {key!r}, received {value!r:.60}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected valid Unicode under {key!r}, received half a character (a lone "
            f"surrogate) at index {error.start} of {value!r:.60}."
        ) from error
    if "<image>" in value:
        raise ValueError(
            f"expected {key!r} without '<image>', received {value!r:.60}: image tokens "
            "are placed by the model."
        )
    return value


class ImageFinder:
    """Finds picture files below a folder, each checked once.

    Args:
        folder: what relative paths are relative to.

    Raises:
        FileNotFoundError: when there is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.expanduser(folder))
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"Expected a folder of pictures, but {str(folder)!r} is none. Pass the "
                "folder that the paths in the file are relative to."
            )
        self._known: set[str] = set()

    def find(self, value: object, key: str) -> str:
        """The path of a picture.

        Raises:
            ValueError: when the value is no path.
            FileNotFoundError, PermissionError: when it is not there or not readable.
        """
        text = check_text(value, key)
        # An absolute path stays as it is.
        path = text
        if not is_address(text):
            path = str(self.folder / os.path.expanduser(text))
        if path not in self._known:
            check_image_file(path)
            self._known.add(path)
        return path


def check_pictures(
    rows: Sequence[Row], on_bad: OnBad = "raise", num_workers: int | None = None
) -> Rows:
    """Decodes every picture once, so that training does not stop at a bad one.

    Args:
        rows: rows with paths, or with pictures of any other kind.
        on_bad: "skip" leaves rows with a damaged picture out and lists them in
            `skipped`, after those the rows had.
        num_workers: threads; None for one a core.

    Raises:
        FileNotFoundError, PermissionError: when a picture is not there or not readable.
        ValueError: when one cannot be decoded, or none is left.
    """
    problems = Problems(on_bad)
    pictures = {_key(one): one for row in rows for one in paths_of(row)}
    with ThreadPoolExecutor(num_workers or os.cpu_count()) as threads:
        results = threads.map(_decoding_error, pictures.values())
        errors = dict(zip(pictures, results, strict=True))
    indices = []
    for index, row in enumerate(rows):
        with problems.of(source_of(rows, index)):
            for picture in paths_of(row):
                error = errors[_key(picture)]
                if error is not None:
                    raise error
            indices.append(index)
    problems.check_some_left(len(indices), "Rows")
    skipped = [*getattr(rows, "skipped", ()), *problems.messages]
    return choose_rows(rows, indices, skipped)


def paths_of(row: Mapping[str, Any]) -> list[ImageInput]:
    """The pictures of a row, one or several.

    Raises:
        ValueError: when the row has other keys than images, prompts, responses.
    """
    if not isinstance(row, Mapping) or set(row) != set(KEYS):
        received = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)
        raise ValueError(
            f"Expected rows of {', '.join(KEYS)}, received {received:.200}."
        )
    images = row["images"]
    return list(images) if isinstance(images, list | tuple) else [images]


def _key(picture: ImageInput) -> str | int:
    """What two pictures have in common if they are one file or one object."""
    return source_name(picture) or id(picture)


def _decoding_error(picture: ImageInput) -> Exception | None:
    try:
        load_rgb(picture, size=(1, 1))
    except (TypeError, ValueError, OSError) as error:
        return error
    return None
