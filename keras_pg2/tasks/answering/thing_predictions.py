"""Boxes and masks in many pictures, recorded as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.thing_records import things_record
from keras_pg2.tasks.answering.detecting import check_can_detect
from keras_pg2.tasks.answering.detecting_model import DetectingModel
from keras_pg2.tasks.answering.detection_prompts import DetectionTask, labels_of
from keras_pg2.tasks.answering.given_answers import apart
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.predictions import count_images
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Predictions,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.runners import Runner


def predict_things(
    model: DetectingModel | Runner,
    source: Iterable[Mapping[str, Any]],
    task: DetectionTask,
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 8,
    max_detections: int = 20,
    show_progress: bool = True,
) -> Predictions:
    """Record what `detect` or `segment` finds, as `predict` records texts.

    A record has the `text` of the answer and under `things` a list of `label`, `box`
    (x1, y1, x2, y2 in pixels of the picture), `score` and with masks `mask` (run
    lengths as COCO has them). All that is found is recorded, however low its score.

    Args:
        model: A `PaliGemma2CausalLM` with a preprocessor, or what runs an exported
            one.
        source: Rows of `images` (one picture), `prompts` ("detect a ; b" or "segment
            a ; b") and `id`.
        task: "detect" or "segment".
        output: As for `predict`.
        batch_size: As for `predict`.
        max_detections: Most things in a picture.
        show_progress: As for `predict`.

    Raises:
        TypeError, ValueError, BlockingIOError, OSError, FloatingPointError: as
            `predict` and `PaliGemma2CausalLM.detect`.
    """
    check_at_least_one("batch_size", batch_size)
    if isinstance(model, DetectingModel):
        check_can_detect(model, task)
    rows, total = read_rows(source, None)
    answerer = _ThingAnswerer(model, task, batch_size, max_detections)
    return record_answers(answerer, rows, total, output, show_progress)


@dataclass(frozen=True)
class _ThingAnswerer:
    """Finds things, those of one prompt together.

    Attributes:
        model: The model.
        task: Boxes, or boxes and masks.
        batch_size: Pictures that go through the network together.
        max_detections: Most things in a picture.
    """

    model: DetectingModel | Runner
    task: DetectionTask
    batch_size: int
    max_detections: int

    def shape(self, row: Row) -> str:
        """Return the prompt, which all of a batch have.

        Raises:
            ValueError: if it is no prompt of the task, or there is not one picture.
        """
        labels_of(row.prompt, self.task)
        if count_images(row.images) != 1:
            raise ValueError(
                f"Expected one picture to {self.task} things in, received "
                f"{count_images(row.images)} in row {row.id!r}."
            )
        return row.prompt

    def answer(
        self, batches: Iterator[list[Numbered]]
    ) -> Iterator[list[tuple[int, Record]]]:
        """Yield the records of each batch."""
        look = getattr(self.model, self.task)
        for batch in batches:
            good, records = apart(batch)
            if good:
                found = look(
                    [_only(row.images) for _, row in good],
                    labels_of(good[0][1].prompt, self.task),
                    max_detections=self.max_detections,
                    min_score=0.0,
                    batch_size=self.batch_size,
                )
                for (number, row), things in zip(good, found, strict=True):
                    pieces = zip(things.tokens, things.labels)
                    text = " ; ".join(f"{tokens} {label}" for tokens, label in pieces)
                    record = {**describe(row), "text": text}
                    record["things"] = things_record(things)
                    records.append((number, record))
            yield records


def _only(images: Any) -> Any:
    return images[0] if isinstance(images, list | tuple) else images
