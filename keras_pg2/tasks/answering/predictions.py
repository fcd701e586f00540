"""Answers about many pictures, written as they come, and taken up after a stop.

Rows are read in windows; in each, those of like length go through the network
together, while the pictures of the next batch are decoded in threads.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
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

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.grammars import Grammar
from keras_pg2.generation.compilation import bucket_text
from keras_pg2.preprocessing.examples import unpack_axes
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.answering import read_answers
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.record_file import RecordFile
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    Images,
    Options,
    Prepared,
    StopTokenIds,
    make_request,
)

Record: TypeAlias = dict[str, Any]
"""A row's answer, or why there is none; see `predict`."""
BATCHES_OF_A_WINDOW = 16
"""So many batches are looked over for rows of like length."""


class Predictions(NamedTuple):
    """What `predict` has done.

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


def predict(
    model: AnsweringModel,
    source: str | os.PathLike[str] | Iterable[Any],
    prompts: str | Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 8,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    stop_token_ids: StopTokenIds = "auto",
    seed: int | None = None,
    constraint: Grammar | None = None,
    num_workers: int | None = None,
    show_progress: bool = True,
) -> Predictions:
    """Answers prompts about any number of pictures.

    A record is a dict of `id`, `image` (path, address or None), `prompt`, `text`,
    `log_probability` of the answer and its `num_tokens`; or of `id`, `image`,
    `prompt` and `error` where the picture cannot be read.

    With `output` records are written as JSON lines, whole lines at a time, in the
    order they come, and each batch is on the disk before the next. A call on a file
    that is there goes on where it stopped: rows with a record (of the same id and
    prompt, failed ones too) are left out, and half a line that a killed process left is
    removed. Remove a record to have it done again. One process at a time writes a file.
    Where reading the rows fails, those read before are answered and written first.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        source: a folder (all pictures in it and its folders), or an iterable,
            as long as it likes, of pictures, as their paths, or of dicts with
            `prompts` (a text) and optionally `images` (as for one example of
            `generate`) and `id`.
        prompts: asked about every picture; None where the rows have their own.
        output: a file to write records to.
        batch_size: rows that go through the network together.
        max_length: as for `generate`.
        max_new_tokens: as for `generate`.
        stop_token_ids: as for `generate`.
        seed: as for `generate`; a row's noise depends on its index in its batch.
        constraint: as for `generate`.
        num_workers: threads that decode pictures; None for one a core.
        show_progress: whether to show a bar with rate and time left, on a terminal.

    Returns:
        The records, or with `output` only their number.

    Raises:
        TypeError: for a row that is neither a path nor a dict.
        ValueError: for a model without a preprocessor, a folder without pictures, rows
            without prompts, a prompt that is too long (what was written before
            stays), or an output that is no file of records.
        FileNotFoundError: when there is no such folder.
        BlockingIOError: if another process, or another call, writes the output.
        OSError: when the output cannot be written.
        FloatingPointError: when the network computes NaN or infinity; what was written
            before stays.
    """
    preprocessor = model.preprocessor
    if preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the prompts. "
            "Received: preprocessor=None."
        )
    check_at_least_one("batch_size", batch_size)
    if num_workers is not None:
        check_at_least_one("num_workers", num_workers)
    options = Options(max_length, max_new_tokens, stop_token_ids, seed, constraint)
    rows, total = read_rows(source, prompts)
    records: list[tuple[int, Record]] = []
    counts = Counter[str]()
    failures: list[Exception] = []
    with (
        nullcontext() if output is None else RecordFile(Path(output)) as output_file,
        _progress_bar(show_progress) as bar,
        ThreadPoolExecutor(num_workers or os.cpu_count()) as threads,
    ):
        recorded = Counter() if output_file is None else output_file.done()
        num_recorded = sum(recorded.values())
        task = bar.add_task("Answering", total=total, failed="")
        remaining = _not_done(enumerate(rows), recorded, lambda: bar.advance(task))
        measured = _until_failure(_measure(preprocessor, remaining), failures)
        for done in _answer_rows(
            model, preprocessor, measured, options, batch_size, threads
        ):
            if output_file is not None:
                output_file.append([record for _, record in done])
            else:
                records.extend(done)
            for _, record in done:
                counts["error" if "error" in record else "text"] += 1
            failed = f"{counts['error']} not readable" if counts["error"] else ""
            bar.update(task, advance=len(done), failed=failed)
    if failures:
        raise failures[0]
    return Predictions(
        records=[record for _, record in sorted(records, key=lambda pair: pair[0])],
        num_answered=counts["text"],
        num_kept=num_recorded - sum(recorded.values()),
        num_failed=counts["error"],
    )


def _not_done(
    rows: Iterable[tuple[int, Row]],
    recorded: Counter[tuple[str, str]],
    on_recorded: Callable[[], None],
) -> Iterator[tuple[int, Row]]:
    """The rows without a record; each record stands for one row."""
    for index, row in rows:
        if recorded[row.key] > 0:
            recorded[row.key] -= 1
            on_recorded()
        else:
            yield index, row


class _Measured(NamedTuple):
    """A row, its number, and the number of tokens of its prompt."""

    number: int
    row: Row
    length: int


def _measure(
    preprocessor: PaliGemma2CausalLMPreprocessor, rows: Iterable[tuple[int, Row]]
) -> Iterator[_Measured]:
    for number, row in rows:
        arrays = preprocessor.prepare_prompts([row.prompt])
        yield _Measured(number, row, int(arrays["padding_mask"].sum()))


def _until_failure(
    rows: Iterator[_Measured], failures: list[Exception]
) -> Iterator[_Measured]:
    """Yield rows until reading them fails, which is noted: the rest can be answered."""
    try:
        yield from rows
    except Exception as error:
        failures.append(error)


class _Loaded(NamedTuple):
    """A row with its pictures on the way."""

    number: int
    row: Row
    picture: Future


def _answer_rows(
    model: AnsweringModel,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    rows: Iterator[_Measured],
    options: Options,
    batch_size: int,
    threads: ThreadPoolExecutor,
) -> Iterator[list[tuple[int, Record]]]:
    """The records of one batch after another, with the indices of their rows."""

    def load(images: Images) -> np.ndarray:
        arrays = preprocessor.convert_images(
            None if images is None else [images], num_rows=1
        )
        return arrays[0]

    def start(batch: list[_Measured]) -> list[_Loaded]:
        return [
            _Loaded(index, row, threads.submit(load, row.images))
            for index, row, _ in batch
        ]

    batches = map(start, _group(rows, batch_size))
    following = next(batches, None)
    while following is not None:
        current, following = following, next(batches, None)
        yield list(_answer_batch(model, preprocessor, current, options))


def _group(rows: Iterator[_Measured], batch_size: int) -> Iterator[list[_Measured]]:
    """Batches of rows of like length, and as many pictures."""

    def shape(entry: _Measured) -> tuple[int, int]:
        return _count_images(entry.row.images), bucket_text(entry.length, batch_size)

    while window := list(itertools.islice(rows, batch_size * BATCHES_OF_A_WINDOW)):
        for _, group in itertools.groupby(sorted(window, key=shape), shape):
            like = list(group)
            for first in range(0, len(like), batch_size):
                yield like[first : first + batch_size]


def _count_images(images: Images) -> int:
    """Of what a row has for pictures."""
    if images is None:
        return 0
    entries = unpack_axes(images)
    return len(entries) if isinstance(entries, list) else 1


def _answer_batch(
    model: AnsweringModel,
    preprocessor: PaliGemma2CausalLMPreprocessor,
    batch: list[_Loaded],
    options: Options,
) -> Iterator[tuple[int, Record]]:
    readable, pictures = [], []
    for entry in batch:
        try:
            pictures.append(entry.picture.result())
            readable.append(entry)
        except (TypeError, ValueError, OSError) as error:
            yield entry.number, {**_describe(entry.row), "error": str(error)}
    if not readable:
        return
    prompts = [entry.row.prompt for entry in readable]
    length = options.max_length or preprocessor.sequence_length
    arrays = preprocessor.prepare_prompts(prompts, length)
    # [h, w, 3] -> [1, h, w, 3]; several pictures as they are.
    arrays["images"] = np.stack([p[None] if p.ndim == 3 else p for p in pictures])
    prepared = Prepared(arrays, make_request(model, arrays, options), True)
    generated = model.make_generate_function(with_scores=True)(prepared.request)
    answers = read_answers(model, prepared, generated, return_scores=True)
    for entry, scored in zip(readable, answers):
        yield (
            entry.number,
            {
                **_describe(entry.row),
                "text": scored.text,
                "log_probability": round(scored.log_probability, 4),
                "num_tokens": len(scored.token_ids),
            },
        )


def _describe(row: Row) -> Record:
    return {"id": row.id, "image": source_name(row.images), "prompt": row.prompt}


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
