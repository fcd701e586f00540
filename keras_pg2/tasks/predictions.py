"""Answers about many pictures, written as they come, and taken up after a stop.

Rows are read in windows; in each, those of like length go through the network
together, while the pictures of the next batch are decoded in threads.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
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

from keras_pg2.codecs.grammars import Grammar
from keras_pg2.generation.compilation import bucket_text
from keras_pg2.preprocessing.image_files import is_path
from keras_pg2.tasks.answering import answer
from keras_pg2.tasks.requests import (
    EncodedImages,
    Options,
    Prepared,
    make_request,
)

BATCHES_OF_A_WINDOW = 16
"""So many batches are looked over for rows of like length."""


class Row(NamedTuple):
    """One prompt about one picture, several, or none.

    Attributes:
        id: what the record is known by: given by the user, the picture's path, or the
            row's place.
        images: as in `generate`; None for text alone.
        prompt: the prompt.
    """

    id: str | int
    images: Any
    prompt: str

    @property
    def key(self) -> tuple[str, str]:
        """What a record is found again by."""
        return (str(self.id), self.prompt)


class Predictions(NamedTuple):
    """What `predict` has done.

    Attributes:
        records: in the order of the rows; empty where they are in a file.
        num_answered: rows answered by this call.
        num_kept: rows answered before, and left as they were.
        num_failed: rows of this call whose picture could not be read.
    """

    records: list[dict[str, Any]]
    num_answered: int
    num_kept: int
    num_failed: int


def predict(
    model: Any,
    source: str | os.PathLike[str] | Iterable[Any],
    prompts: str | Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 8,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    stop_token_ids: Any = "auto",
    seed: int | None = None,
    constraint: Grammar | None = None,
    num_workers: int | None = None,
    show_progress: bool = True,
) -> Predictions:
    """Answers prompts about any number of pictures.

    A record is a dict of `id`, `image` (path or None), `prompt`, `text`,
    `log_probability` of the answer and its `num_tokens`; or of `id`, `image`,
    `prompt` and `error` where the picture cannot be read.

    With `output` records are written as JSON lines, whole lines at a time, in the
    order they come. A call on a file that is there goes on where it stopped: rows
    with a record (of the same id and prompt, failed ones too) are left out, and half
    a line that a killed process left is removed. Remove a record to have it done
    again.

    Args:
        model: a `PaliGemma2CausalLM` with a preprocessor.
        source: a folder (all pictures in it and its folders), or an iterable,
            as long as it likes, of picture paths or of dicts with `prompts` (a
            text) and optionally `images` (as for one example of `generate`) and
            `id`.
        prompts: asked about every picture; None where the rows have their own.
        output: a file to write records to.
        batch_size: rows that go through the network together.
        max_length: as for `generate`.
        max_new_tokens: as for `generate`.
        stop_token_ids: as for `generate`.
        seed: as for `generate`; a row's noise depends on its place in its batch.
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
        OSError: when the output cannot be written.
    """
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the prompts. "
            "Received: preprocessor=None."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"Expected batch_size as a whole number >= 1. Received: {batch_size!r}."
        )
    options = Options(max_length, max_new_tokens, stop_token_ids, seed, constraint)
    rows, total = _read_rows(source, prompts)
    records: list[tuple[int, dict[str, Any]]] = []
    output_file = None if output is None else RecordFile(Path(output))
    kept = Counter() if output_file is None else output_file.done()
    num_kept = sum(kept.values())
    counts = Counter[str]()
    with (
        _progress_bar(show_progress) as bar,
        ThreadPoolExecutor(num_workers or os.cpu_count()) as threads,
    ):
        task = bar.add_task("Answering", total=total, failed="")
        remaining = _not_done(enumerate(rows), kept, lambda: bar.advance(task))
        for done in _answer_rows(model, remaining, options, batch_size, threads):
            if output_file is not None:
                output_file.append([record for _, record in done])
            else:
                records.extend(done)
            for _, record in done:
                counts["error" if "error" in record else "text"] += 1
            failed = f"{counts['error']} not readable" if counts["error"] else ""
            bar.update(task, advance=len(done), failed=failed)
    return Predictions(
        [record for _, record in sorted(records, key=lambda pair: pair[0])],
        counts["text"],
        num_kept - sum(kept.values()),
        counts["error"],
    )


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
                    begins_as_ours = line.startswith(BEGINNING[: len(line)])
                    if line.endswith(b"\n") or not begins_as_ours:
                        raise
                    self._half_line = len(line)
                else:
                    self._needs_newline = not line.endswith(b"\n")
        return keys

    def _key(self, line: bytes, number: int) -> tuple[str, str]:
        try:
            record = json.loads(line)
            return (str(record["id"]), record["prompt"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected {str(self.path)!r} to be new, or a file of records to go on "
                f"with. Line {number} is no record. Choose another output."
            ) from error

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


def list_pictures(folder: Path) -> list[Path]:
    """Files in a folder and its folders whose names end as pictures do, sorted.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when there is no picture in it.
    """
    if folder.is_file():
        raise ValueError(
            f"Expected a folder of pictures, received the file {str(folder)!r}. Pass "
            "it in a list."
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of pictures: no {str(folder)!r}.")
    endings = Image.registered_extensions()
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in endings and path.is_file()
    )
    if not paths:
        raise ValueError(
            f"Expected pictures in the folder {str(folder)!r}, found no file whose "
            "name ends like one (.jpg, .png, ...)."
        )
    return paths


def _read_rows(
    source: Any, prompts: str | Sequence[str] | None
) -> tuple[Iterator[Row], int | None]:
    """The rows, and how many there are if that is known."""
    asked = [prompts] if isinstance(prompts, str) else list(prompts or [])
    if isinstance(source, str | os.PathLike):
        source = list_pictures(Path(os.path.expanduser(source)))
    is_iterable = isinstance(source, Iterable) or hasattr(source, "__getitem__")
    if is_path(source) or isinstance(source, Mapping) or not is_iterable:
        raise TypeError(
            f"Expected source as a folder or an iterable of rows. Received: {source!r}."
        )
    total = len(source) * max(1, len(asked)) if hasattr(source, "__len__") else None
    return _rows(source, asked), total


def _rows(source: Iterable[Any], asked: list[str]) -> Iterator[Row]:
    for place, entry in enumerate(source):
        if is_path(entry):
            entry = {"images": entry}
        if not isinstance(entry, Mapping):
            raise TypeError(
                "Expected each row as a picture's path or a dict of images and "
                f"prompts. Received: {type(entry).__name__} at place {place}."
            )
        unknown = entry.keys() - {"images", "prompts", "id"}
        if unknown:
            raise ValueError(
                "Expected rows of images, prompts and id. Received others at place "
                f"{place}: {', '.join(sorted(map(str, unknown)))}."
            )
        images = entry.get("images")
        if isinstance(images, EncodedImages):
            raise TypeError(
                f"Expected pictures, received encoded images at place {place}. Pass "
                "the picture, or call `generate`."
            )
        own = entry.get("prompts")
        texts = asked or ([own] if own is not None else [])
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                "Expected a prompt (a text) for every row, in the row or as prompts. "
                f"Received none at place {place}."
            )
        name = os.fspath(images) if is_path(images) else place
        for text in texts:
            yield Row(_check_id(entry.get("id", name), place), images, text)


def _check_id(given: Any, place: int) -> str | int:
    if isinstance(given, str | int):
        return given
    if isinstance(given, np.integer):
        return int(given)
    if isinstance(given, os.PathLike | bytes):
        return os.fsdecode(given)
    raise TypeError(
        "Expected id as a text or a whole number. Received: "
        f"{given!r} at place {place}."
    )


def _not_done(
    rows: Iterable[tuple[int, Row]],
    kept: Counter[tuple[str, str]],
    on_kept: Callable[[], None],
) -> Iterator[tuple[int, Row]]:
    """The rows without a record; each record stands for one row."""
    for place, row in rows:
        if kept[row.key] > 0:
            kept[row.key] -= 1
            on_kept()
        else:
            yield place, row


class _Loaded(NamedTuple):
    """A row with its pictures on the way."""

    place: int
    row: Row
    length: int
    picture: Future


def _answer_rows(
    model: Any,
    rows: Iterator[tuple[int, Row]],
    options: Options,
    batch_size: int,
    threads: ThreadPoolExecutor,
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The records of one batch after another, with the places of their rows."""

    def load(images: Any) -> np.ndarray:
        arrays = model.preprocessor.convert_images(
            None if images is None else [images], num_rows=1
        )
        return arrays[0]

    def start(batch: list[tuple[int, Row, int]]) -> list[_Loaded]:
        return [
            _Loaded(place, row, length, threads.submit(load, row.images))
            for place, row, length in batch
        ]

    batches = map(start, _group(model, rows, batch_size))
    following = next(batches, None)
    while following is not None:
        current, following = following, next(batches, None)
        yield list(_answer_batch(model, current, options))


def _group(
    model: Any, rows: Iterator[tuple[int, Row]], batch_size: int
) -> Iterator[list[tuple[int, Row, int]]]:
    """Batches of rows of like length, and as many pictures."""
    while window := list(itertools.islice(rows, batch_size * BATCHES_OF_A_WINDOW)):
        lengths = _num_tokens(model, [row.prompt for _, row in window])

        def shape(entry: tuple[int, Row, int]) -> tuple[int, int]:
            _, row, length = entry
            several = isinstance(row.images, list | tuple)
            num_images = 0 if row.images is None else len(row.images) if several else 1
            return num_images, bucket_text(length, batch_size)

        entries = [(*pair, n) for pair, n in zip(window, lengths, strict=True)]
        for _, group in itertools.groupby(sorted(entries, key=shape), shape):
            like = list(group)
            for first in range(0, len(like), batch_size):
                yield like[first : first + batch_size]


def _num_tokens(model: Any, prompts: list[str]) -> list[int]:
    arrays = model.preprocessor.generate_preprocess(prompts)
    return arrays["padding_mask"].sum(axis=1).tolist()


def _answer_batch(
    model: Any, batch: list[_Loaded], options: Options
) -> Iterator[tuple[int, dict[str, Any]]]:
    readable, pictures = [], []
    for entry in batch:
        try:
            pictures.append(entry.picture.result())
            readable.append(entry)
        except (ValueError, OSError) as error:
            yield entry.place, {**_describe(entry.row), "error": str(error)}
    if not readable:
        return
    prompts = [entry.row.prompt for entry in readable]
    length = options.max_length or model.preprocessor.sequence_length
    arrays = model.preprocessor.generate_preprocess(prompts, sequence_length=length)
    arrays["images"] = np.stack([_with_axis(picture) for picture in pictures])
    prepared = Prepared(arrays, make_request(model, arrays, options), True)
    for entry, scored in zip(readable, answer(model, prepared, return_scores=True)):
        yield (
            entry.place,
            {
                **_describe(entry.row),
                "text": scored.text,
                "log_probability": round(scored.log_probability, 4),
                "num_tokens": len(scored.token_ids),
            },
        )


def _with_axis(picture: np.ndarray) -> np.ndarray:
    """[h, w, 3] -> [1, h, w, 3]; several pictures as they are."""
    return picture[None] if picture.ndim == 3 else picture


def _describe(row: Row) -> dict[str, Any]:
    image = os.fsdecode(row.images) if is_path(row.images) else None
    return {"id": row.id, "image": image, "prompt": row.prompt}


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
