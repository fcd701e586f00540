"""Rows answered in batches: records written as they come, taken up after a stop.

What answers a batch is a value: texts, things found, or probabilities of given texts.
Batches are the same ones whatever is recorded already, so that a call that goes on
gives the very numbers that one call without a stop gives.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.tasks.answering.prediction_rows import Row
from keras_pg2.tasks.answering.record_file import RecordFile

Record: TypeAlias = dict[str, Any]
"""A row's answer, or why there is none; see `predict`."""
Numbered: TypeAlias = tuple[int, Row]
"""A row and its index among all rows."""
BATCHES_OF_A_WINDOW = 16
"""So many batches are looked over for rows of like shape."""


class Predictions(NamedTuple):
    """What a call has done.

    Attributes:
        records: in the order of the rows; empty where they are in a file.
        num_answered: rows answered by this call.
        num_kept: rows answered before, and left as they were.
        num_failed: rows of this call whose picture could not be read.
    """

    records: list[Record]
    num_answered: int
    num_kept: int
    num_failed: int


class Answerer(Protocol):
    """What answers rows, those of one shape together."""

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""

    def shape(self, row: Row) -> Any:
        """Return what rows of one batch have in common, which can be sorted.

        Raises:
            ValueError: if the row cannot be asked.
        """

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the records of each batch, in any order, with the rows' indices."""


def record_answers(
    answerer: Answerer,
    rows: Iterable[Row],
    total: int | None,
    output: str | PathLike[str] | None,
    show_progress: bool,
) -> Predictions:
    """Answer rows, and leave out those that are in the output already.

    Args:
        answerer: What answers them.
        rows: The rows, as long as they like.
        total: Number of rows, if that is known.
        output: File to write records to; None returns them.
        show_progress: Whether to show a bar with rate and time left, on a terminal.

    Raises:
        ValueError, BlockingIOError, OSError: as `RecordFile`, and what the rows and the
            answerer raise: rows read before are answered and written first.
    """
    records: list[tuple[int, Record]] = []
    counts = Counter[str]()
    failures: list[Exception] = []
    with (
        nullcontext() if output is None else RecordFile(Path(output)) as output_file,
        _progress_bar(show_progress) as bar,
    ):
        recorded = Counter() if output_file is None else output_file.done()
        num_recorded = sum(recorded.values())
        task = bar.add_task("Answering", total=total, failed="")
        done: set[int] = set()
        shaped = _until_failure(
            _shape(answerer, rows, recorded, output_file, done), failures
        )
        batches = _not_done(
            _group(shaped, answerer.batch_size), done, lambda n: bar.advance(task, n)
        )
        for answered in answerer.answer(batches):
            new = [pair for pair in answered if pair[0] not in done]
            done.difference_update(number for number, _ in answered)
            if output_file is not None:
                output_file.append([record for _, record in new])
            else:
                records.extend(new)
            for _, record in new:
                counts["error" if "error" in record else "text"] += 1
            failed = f"{counts['error']} not readable" if counts["error"] else ""
            bar.update(task, advance=len(new), failed=failed)
    if failures:
        raise failures[0]
    return Predictions(
        records=[record for _, record in sorted(records, key=lambda pair: pair[0])],
        num_answered=counts["text"],
        num_kept=num_recorded - sum(recorded.values()),
        num_failed=counts["error"],
    )


def describe(row: Row) -> Record:
    """Return how a row's record begins."""
    return {"id": row.id, "image": source_name(row.images), "prompt": row.prompt}


class _Shaped(NamedTuple):
    """A row, its number and its shape."""

    number: int
    row: Row
    shape: Any


def _shape(
    answerer: Answerer,
    rows: Iterable[Row],
    recorded: Counter[tuple[str, str]],
    output_file: RecordFile | None,
    done: set[int],
) -> Iterator[_Shaped]:
    """Yield rows, and note which are done; each record stands for one row.

    Raises:
        ValueError: if a record is about another picture than its row.
    """
    for number, row in enumerate(rows):
        if output_file is not None and recorded[row.key] > 0:
            output_file.check_picture(row.key, source_name(row.images))
            recorded[row.key] -= 1
            done.add(number)
        yield _Shaped(number, row, answerer.shape(row))


def _until_failure(
    rows: Iterator[_Shaped], failures: list[Exception]
) -> Iterator[_Shaped]:
    """Yield rows until reading them fails, which is noted: the rest can be answered."""
    try:
        yield from rows
    except Exception as error:
        failures.append(error)


def _group(rows: Iterator[_Shaped], batch_size: int) -> Iterator[list[Numbered]]:
    """Batches of rows of one shape."""

    def shape(entry: _Shaped) -> Any:
        return entry.shape

    while window := list(itertools.islice(rows, batch_size * BATCHES_OF_A_WINDOW)):
        for _, group in itertools.groupby(sorted(window, key=shape), shape):
            like = [(number, row) for number, row, _ in group]
            for first in range(0, len(like), batch_size):
                yield like[first : first + batch_size]


def _not_done(
    batches: Iterator[list[Numbered]], done: set[int], tell: Callable[[int], None]
) -> Iterator[list[Numbered]]:
    """Batches with a row to be answered; the others are whole, so that none changes."""
    for batch in batches:
        numbers = {number for number, _ in batch}
        tell(len(numbers & done))
        if numbers <= done:
            done -= numbers
        else:
            yield batch


class _RateColumn(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        """As in `12.3 rows/s`."""
        return Text("" if task.speed is None else f"{task.speed:.1f} rows/s")


def _progress_bar(is_wanted: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=console,
        disable=not (is_wanted and console.is_terminal),
    )
