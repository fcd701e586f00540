"""Answers to what is asked: of a model, of an exported one, or of a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from keras_pg2.checks.texts import printable
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.parsing import has_only_whole_boxes, parse_detections
from keras_pg2.codecs.thing_records import things_record
from keras_pg2.evaluation.asking import Asked, Plan, check_length
from keras_pg2.evaluation.records import read_records
from keras_pg2.files.json_fields import Fields
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.preprocessing.image_sources import source_name
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


class Runner(Protocol):
    """What runs an exported model: `keras_pg2.deploy.LiteRTModel`, `ONNXModel`."""

    manifest: dict[str, Any]

    @property
    def tokenizer(self) -> Any:
        """Its vocabulary."""

    @property
    def generate(self) -> Callable[..., Any]:
        """The method that answers a prompt about a picture greedily."""


Source: TypeAlias = PaliGemma2CausalLM | Runner | str | os.PathLike[str]
"""What answers: a model, what runs an exported one, or a file of predictions."""


def is_runner(model: object) -> bool:
    """Return whether a value runs an exported model."""
    return hasattr(model, "manifest") and hasattr(model, "generate")


def check_source(model: Any, plan: Plan) -> None:
    """Check that a model can do what is planned.

    Raises:
        TypeError: if it is none of `Source`.
        ValueError: if it has no preprocessor, or cannot do what is planned.
        FileNotFoundError: if it is a file that is not there.
    """
    if isinstance(model, str | os.PathLike):
        if not Path(model).expanduser().is_file():
            raise FileNotFoundError(
                "Expected a model, or a file of predictions (JSON lines of id and "
                f"text), received {os.fspath(model)!r}, which is no file."
            )
        return
    if is_runner(model):
        _check_runner(plan)
        return
    if not isinstance(model, PaliGemma2CausalLM):
        raise TypeError(
            "Expected a PaliGemma2CausalLM, a LiteRTModel, an ONNXModel or the path of "
            f"a file of predictions, received {type(model).__name__}."
        )
    if model.preprocessor is None:
        raise ValueError(
            "Expected a model with a preprocessor, to make tokens of the prompts. "
            "Received: preprocessor=None."
        )
    check_length(plan.mode, plan.max_new_tokens)


def _check_runner(plan: Plan) -> None:
    cannot = {
        "segment": "has no codec for masks",
        "likelihood": "gives no probabilities of given answers",
    }
    if plan.mode in cannot:
        raise ValueError(
            f"Expected mode 'answer' or 'detect' for an exported model, which "
            f"{cannot[plan.mode]}; received {plan.mode!r}. Take the checkpoint."
        )
    if plan.num_beams > 1:
        raise ValueError(
            "Expected num_beams=1 for an exported model, which takes the likeliest "
            f"tokens; received {plan.num_beams}. Pass num_beams=1 (--num-beams 1)."
        )
    if plan.num_images != 1:
        raise ValueError(
            "Expected one picture of each example for an exported model, received "
            f"{'different numbers' if plan.num_images is None else plan.num_images}."
        )


def answer_plan(
    model: Source,
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
        What `predict` raises; ValueError if a file of predictions lacks an example.
    """
    if isinstance(model, str | os.PathLike):
        return _of_file(model, plan)
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


def _of_file(
    path: str | os.PathLike[str], plan: Plan
) -> Mapping[tuple[str, str | None], Fields]:
    """Return what a file of predictions says of the examples."""
    found = read_records(path)
    by_id: dict[str, list[Fields]] = {}
    for (name, _), each in found.items():
        by_id.setdefault(name, []).append(each)
    chosen: dict[tuple[str, str | None], Fields] = {}
    missing: list[str] = []
    for one in plan.asked:
        name = str(one.id)
        record: Fields | None = found.get((name, one.prompt))
        if record is None and len(by_id.get(name, ())) == 1:
            # Other programs may have asked in other words.
            [record] = by_id[name]
        if record is None:
            missing.append(name)
            continue
        _check_picture(record, one)
        chosen[name, one.prompt] = record
    if missing:
        raise ValueError(
            f"Expected a prediction for every example in {os.fspath(path)!r}, received "
            f"none for {len(missing)} of {len(plan.asked)}, as {missing[0]!r}. Are "
            "they of this data set and split?"
        )
    unused = len(by_id) - len({name for name, _ in chosen})
    if unused and plan.shard is None:
        warnings.warn(
            f"Expected predictions for the {len(plan.asked)} examples alone, received "
            f"{unused} others in {os.fspath(path)!r}, which are left out.",
            stacklevel=2,
        )
    return chosen


def _check_picture(record: Fields, one: Asked) -> None:
    """Raise ValueError if a prediction names another picture than its example has.

    Folders are not compared, which are others on another machine.
    """
    image = record.value("image", None)
    own = [source_name(each) for each in one.images]
    if not isinstance(image, str) or len(own) != 1 or own[0] is None:
        return
    if os.path.basename(image) != os.path.basename(own[0]):
        raise ValueError(
            f"{record.source}: expected an answer about {own[0]!r}, the picture of the "
            f"example {one.id!r}, received one about {printable(repr(image))}. Are "
            "they of this data set and split?"
        )


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
