"""Answers to what is asked: of a model, or of an exported one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from keras_pg2.codecs.searching import DetectionTask
from keras_pg2.evaluation.asking import Plan
from keras_pg2.evaluation.records import read_records
from keras_pg2.files.json_fields import Fields
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.exported import predict_exported
from keras_pg2.tasks.answering.given_answers import predict_given
from keras_pg2.tasks.answering.predictions import predict
from keras_pg2.tasks.answering.recorded_answers import Predictions
from keras_pg2.tasks.answering.runners import Runner
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
        found = _ask_runner(model, plan, rows, output, common)
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
    common: dict[str, Any],
) -> Predictions:
    before = runner.manifest["antialias"]
    try:
        if plan.antialias is not None:
            runner.manifest["antialias"] = plan.antialias
        if plan.mode in ("detect", "segment"):
            return predict_things(
                runner,
                rows,
                cast(DetectionTask, plan.mode),
                output,
                max_detections=plan.max_detections,
                **common,
            )
        return predict_exported(
            runner,
            rows,
            output=output,
            max_new_tokens=plan.max_new_tokens,
            show_progress=common["show_progress"],
        )
    finally:
        runner.manifest["antialias"] = before
