"""Rows as `fit` and the preprocessor take them, and what is wrong with the others.

A row is `{"images": path, "prompts": text, "responses": text}`; `images` may be a list
of paths where an example has several pictures. Readers give `Rows`, which are a plain
sequence: `torch.utils.data.DataLoader(rows, batch_size=8)` takes them as they are,
`tf.data.Dataset.from_tensor_slices(columns(rows))` and `fit(columns(rows))` by columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias, overload

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.metrics.metric import Truth
from keras_pg2.preprocessing.examples import KEYS, num_pictures, unpack_axes
from keras_pg2.preprocessing.image_sources import check_source, source_name
from keras_pg2.preprocessing.images import ImageInput, load_rgb

Row: TypeAlias = dict[str, Any]


class Rows(Sequence[Row]):
    """Rows of a file, in its order.

    Args:
        rows: the rows.
        skipped: what was wrong with each entry that was left out.
        sources: file and line of each row; none where they are not known.
        notes: what else a user should know of how the rows were made.
        truths: what is true of each row, for metrics; none where its response is all.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        skipped: Iterable[str] = (),
        sources: Iterable[str] = (),
        notes: Iterable[str] = (),
        truths: Iterable[Truth] = (),
    ) -> None:
        self._rows = tuple(rows)
        self.skipped = tuple(skipped)
        self.sources = tuple(sources)
        self.notes = tuple(notes)
        self.truths = tuple(truths)

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
            sources, truths = self.sources[index], self.truths[index]
            return Rows(self._rows[index], self.skipped, sources, self.notes, truths)
        return dict(self._rows[index])

    def __repr__(self) -> str:
        return f"Rows({len(self)} rows, {self.num_skipped} skipped)"


def source_of(rows: Sequence[Row], index: int) -> str:
    """File and line of a row where they are known, else its index, from 0."""
    sources = getattr(rows, "sources", ())
    return sources[index] if sources else f"Row {index}"


def truth_of(rows: Sequence[Row], index: int) -> Truth:
    """What is true of a row: its own truth, or that its response is the only answer."""
    truths = getattr(rows, "truths", ())
    return truths[index] if truths else Truth(answers=(rows[index]["responses"],))


def choose_rows(
    rows: Sequence[Row],
    indices: Iterable[int],
    skipped: Iterable[str] = (),
    notes: Iterable[str] | None = None,
) -> Rows:
    """Some rows by their indices, with where they are from.

    Args:
        rows: all rows.
        indices: of those to take, from 0.
        skipped: what was wrong with entries that were left out.
        notes: what else a user should know; None for what all rows have.
    """
    indices = list(indices)
    sources = [source_of(rows, index) for index in indices]
    notes = getattr(rows, "notes", ()) if notes is None else notes
    truths = getattr(rows, "truths", ())
    return Rows(
        [rows[index] for index in indices],
        skipped,
        sources,
        notes,
        [truths[index] for index in indices] if truths else (),
    )


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


def check_same_number_of_pictures(rows: Sequence[Row]) -> None:
    """Raise ValueError if rows, which batches take together, have 1 and 2 pictures."""
    check_picture_counts([row["images"] for row in rows], partial(source_of, rows))


def check_picture_counts(
    images: Sequence[Any], name_of: Callable[[int], str] = "Row {}".format
) -> None:
    """Raise ValueError if examples have different numbers of pictures.

    Args:
        images: of each example a picture, a list of pictures, or None.
        name_of: returns what an example is called, by its index.
    """
    counts = [num_pictures(entry) for entry in images]
    for index, count in enumerate(counts):
        if count != counts[0]:
            raise ValueError(
                f"{name_of(index)}: expected as many pictures as in {name_of(0)}, "
                f"{counts[0]}, since pictures of a batch are one array. Received: "
                f"{count}. Make a data set of the rows of each number, or take batches "
                "of 1."
            )


def check_picture_files(
    images: Iterable[Any], name_of: Callable[[int], str] = "Row {}".format
) -> None:
    """Raise if the file of a picture is missing; nothing is read or downloaded.

    Args:
        images: of each example a picture, a list of pictures, or None.
        name_of: returns what an example is called, by its index.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `check_source`; it names the
            example.
    """
    for index, entry in enumerate(images):
        several = unpack_axes(entry)
        for picture in several if isinstance(several, list) else [several]:
            try:
                check_source(picture)
            except (FileNotFoundError, PermissionError, ValueError) as error:
                raise type(error)(f"{name_of(index)}: {error}") from error


def _key(picture: ImageInput) -> str | int:
    """What two pictures have in common if they are one file or one object."""
    return source_name(picture) or id(picture)


def _decoding_error(picture: ImageInput) -> Exception | None:
    try:
        load_rgb(picture, size=(1, 1))
    except (TypeError, ValueError, OSError) as error:
        return error
    return None
