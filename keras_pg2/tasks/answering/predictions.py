"""Answers about many pictures, written as they come, and taken up after a stop.

Rows are read in windows; in each, those of like length go through the network
together, while the pictures of the next batch are decoded in threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detection_scores import geometric_mean, token_features
from keras_pg2.codecs.grammars import Grammar
from keras_pg2.codecs.parsing import has_only_whole_boxes
from keras_pg2.generation.compilation import bucket_text
from keras_pg2.preprocessing.examples import unpack_axes
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.answering.answering import read_answers
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Predictions,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    Images,
    Options,
    Prepared,
    StopTokenIds,
    make_request,
)


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
    `log_probability` of the answer and its `num_tokens`; of an answer whose
    `<loc....>` tokens are whole boxes also of `scores`, how sure the model is of each;
    or of `id`, `image`, `prompt` and `error` where the picture cannot be read.

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
    answerer = TextAnswerer(model, preprocessor, options, batch_size, num_workers)
    return record_answers(answerer, rows, total, output, show_progress)


class _Loaded(NamedTuple):
    """A row with its pictures on the way."""

    number: int
    row: Row
    picture: Future


@dataclass(frozen=True)
class TextAnswerer:
    """Continues prompts; pictures of the next batch are decoded meanwhile.

    Attributes:
        model: The model.
        preprocessor: Its preprocessor.
        options: Options of `generate`.
        batch_size: Rows that go through the network together.
        num_workers: Threads that decode pictures; None for one a core.
    """

    model: AnsweringModel
    preprocessor: PaliGemma2CausalLMPreprocessor
    options: Options
    batch_size: int
    num_workers: int | None = None

    def shape(self, row: Row) -> tuple[int, int]:
        """Return the number of pictures and the bucket of the prompt's length."""
        arrays = self.preprocessor.prepare_prompts([row.prompt])
        length = int(arrays["padding_mask"].sum())
        return count_images(row.images), bucket_text(length, self.batch_size)

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the records of one batch after another."""
        with ThreadPoolExecutor(self.num_workers or os.cpu_count()) as threads:

            def start(batch: list[Numbered]) -> list[_Loaded]:
                return [
                    _Loaded(number, row, threads.submit(self._load, row.images))
                    for number, row in batch
                ]

            started = map(start, batches)
            following = next(started, None)
            while following is not None:
                current, following = following, next(started, None)
                yield list(
                    _answer_batch(self.model, self.preprocessor, current, self.options)
                )

    def _load(self, images: Images) -> np.ndarray:
        arrays = self.preprocessor.convert_images(
            None if images is None else [images], num_rows=1
        )
        return arrays[0]


def count_images(images: Images) -> int:
    """Return how many pictures a row has."""
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
            yield entry.number, {**describe(entry.row), "error": str(error)}
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
        record = {
            **describe(entry.row),
            "text": scored.text,
            "log_probability": round(scored.log_probability, 4),
            "num_tokens": len(scored.token_ids),
        }
        if has_only_whole_boxes(scored.text):
            scores = geometric_mean(token_features(scored, preprocessor.tokenizer))
            record["scores"] = [round(float(score), 6) for score in scores]
        yield entry.number, record
