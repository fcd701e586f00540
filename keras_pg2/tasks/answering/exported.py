"""Answers of an exported model about many pictures, recorded as those of a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keras_pg2.codecs.detection_scores import geometric_mean, token_features
from keras_pg2.codecs.parsing import has_only_whole_boxes
from keras_pg2.preprocessing.images import load_sized, to_picture
from keras_pg2.tasks.answering.given_answers import apart
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Predictions,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.runners import Runner


def predict_exported(
    runner: Runner,
    source: str | os.PathLike[str] | Iterable[Any],
    prompts: str | Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    max_new_tokens: int | None = None,
    show_progress: bool = True,
) -> Predictions:
    """Answer prompts about any number of pictures, one after another, as `predict`.

    Args:
        runner: What runs the model.
        source: As for `predict`, with one picture for each row.
        prompts: As for `predict`.
        output: As for `predict`.
        max_new_tokens: Most tokens of an answer; None for what the cache holds.
        show_progress: As for `predict`.

    Raises:
        TypeError, ValueError, BlockingIOError, OSError, FloatingPointError: as
            `predict`; ValueError for a prompt longer than the files can read.
    """
    rows, total = read_rows(source, prompts)
    answerer = _RunnerAnswerer(runner, max_new_tokens)
    return record_answers(answerer, rows, total, output, show_progress)


@dataclass(frozen=True)
class _RunnerAnswerer:
    """Asks an exported model, one example at a time.

    Attributes:
        runner: What runs it.
        max_new_tokens: Most tokens of an answer.
    """

    runner: Runner
    max_new_tokens: int | None
    batch_size: int = 1

    def shape(self, row: Row) -> int:
        """Return the same for all, which keeps their order."""
        return 0

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the record of each example."""
        for batch in batches:
            good, records = apart(batch)
            records += [(number, self._ask(row)) for number, row in good]
            yield records

    def _ask(self, row: Row) -> Record:
        picture = load_sized(row.images, size=self.runner.image_size)
        scored = self.runner.generate(
            to_picture(picture.levels),
            row.prompt,
            max_new_tokens=self.max_new_tokens,
            return_scores=True,
        )
        record: Record = {
            **describe(row),
            "text": scored.text,
            "log_probability": round(scored.log_probability, 4),
            "num_tokens": len(scored.token_ids),
        }
        if has_only_whole_boxes(scored.text):
            scores = geometric_mean(token_features(scored, self.runner.tokenizer))
            record["scores"] = [round(float(score), 6) for score in scores]
        return record
