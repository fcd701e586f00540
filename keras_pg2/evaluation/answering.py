"""Answers to what is asked: of a model, or of an exported one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.parsing import has_only_whole_boxes, parse_detections
from keras_pg2.codecs.thing_records import things_record
from keras_pg2.evaluation.asking import Plan
from keras_pg2.evaluation.records import read_records
from keras_pg2.evaluation.sources import Runner
from keras_pg2.files.json_fields import Fields
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.preprocessing.images import load_sized, to_picture
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.detection_prompts import labels_of
from keras_pg2.tasks.answering.detection_scores import geometric_mean, token_features
from keras_pg2.tasks.answering.given_answers import apart, predict_given
from keras_pg2.tasks.answering.prediction_rows import Row, read_rows
from keras_pg2.tasks.answering.predictions import predict
from keras_pg2.tasks.answering.recorded_answers import (
    Numbered,
    Record,
    describe,
    record_answers,
)
from keras_pg2.tasks.answering.thing_predictions import predict_things


def answer_plan(
    model: PaliGemma2CausalLM | Runner,
    plan: Plan,
    output: Path | None,
    *,
    batch_size: int,
    num_workers: int | None,
    show_progress: bool,
) -> Mapping[tuple[str, str | None], Fields]:
    """Return a record of every example, by id and prompt.

    Args:
        model: What answers.
        plan: What is asked.
        output: File of JSON lines that is gone on with; None keeps all in memory.
        batch_size: Examples that go through the network together.
        num_workers: Threads that decode pictures; None for one a core.
        show_progress: Whether to show a bar, on a terminal.

    Raises:
        What `predict` raises.
    """
    rows = [one.row for one in plan.asked]
    common: dict[str, Any] = {"batch_size": batch_size, "show_progress": show_progress}
    if not isinstance(model, PaliGemma2CausalLM):
        found = _ask_runner(model, plan, rows, output, show_progress)
    else:
        with asked_as_planned(model, plan):
            if plan.mode == "likelihood":
                responses = [one.response for one in plan.asked]
                found = predict_given(model, rows, responses, output, **common)
            elif plan.mode == "answer":
                found = predict(
                    model,
                    rows,
                    output=output,
                    max_new_tokens=plan.max_new_tokens,
                    num_workers=num_workers,
                    **common,
                )
            else:
                found = predict_things(
                    model,
                    rows,
                    plan.mode,
                    output,
                    max_detections=plan.max_detections,
                    **common,
                )
    if output is not None:
        return read_records(output)
    return {
        (str(record["id"]), record["prompt"]): Fields(record, "an answer")
        for record in found.records
    }


@contextmanager
def asked_as_planned(model: PaliGemma2CausalLM, plan: Plan) -> Iterator[None]:
    """Give a model the plan's search and antialias for a while."""
    sampler = model.sampler
    assert model.preprocessor is not None
    try:
        model.sampler = Sampler() if plan.num_beams == 1 else BeamSearch(plan.num_beams)
        with resized_with(model.preprocessor.image_converter, plan.antialias):
            yield
    finally:
        model.sampler = sampler


def _ask_runner(
    runner: Runner,
    plan: Plan,
    rows: list[dict[str, Any]],
    output: Path | None,
    show_progress: bool,
) -> Any:
    answerer = _RunnerAnswerer(runner, plan)
    asked, total = read_rows(rows, None)
    before = runner.manifest["antialias"]
    try:
        if plan.antialias is not None:
            runner.manifest["antialias"] = plan.antialias
        return record_answers(answerer, asked, total, output, show_progress)
    finally:
        runner.manifest["antialias"] = before


@dataclass(frozen=True)
class _RunnerAnswerer:
    """Asks an exported model, one example at a time.

    Attributes:
        runner: What runs it.
        plan: What is asked.
    """

    runner: Runner
    plan: Plan
    batch_size: int = 1

    def shape(self, row: Row) -> int:
        """Return the same for all, which keeps their order."""
        if self.plan.mode == "detect":
            labels_of(row.prompt, "detect")
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
        size = self.runner.manifest["image_size"]
        picture = load_sized(row.images, size=(size, size))
        grammar = None
        if self.plan.mode == "detect":
            grammar = LocationGrammar(labels_of(row.prompt, "detect"), "never")
        scored = self.runner.generate(
            to_picture(picture.levels),
            row.prompt,
            max_new_tokens=self.plan.max_new_tokens,
            constraint=grammar,
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
        if self.plan.mode == "detect":
            found = parse_detections(scored.text, picture.width, picture.height)
            scores = np.array(record.pop("scores", []), np.float32)
            things = things_record(found)
            record["things"] = [
                {**thing, "score": round(float(score), 6)}
                for thing, score in zip(things, scores, strict=True)
            ][: self.plan.max_detections]
        return record
