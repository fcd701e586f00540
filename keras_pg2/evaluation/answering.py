"""Answers to what is asked: of a model, of an exported one, or of a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

from keras_pg2.checks.texts import printable
from keras_pg2.codecs.searching import DetectionTask
from keras_pg2.evaluation.asking import Asked, Plan, check_length
from keras_pg2.evaluation.records import read_records
from keras_pg2.files.json_fields import Fields
from keras_pg2.generation.samplers import BeamSearch, Sampler
from keras_pg2.preprocessing.image_converter import resized_with
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.tasks import PaliGemma2CausalLM
from keras_pg2.tasks.answering.exported import Runner, is_runner, predict_exported
from keras_pg2.tasks.answering.given_answers import predict_given
from keras_pg2.tasks.answering.predictions import predict
from keras_pg2.tasks.answering.recorded_answers import Predictions
from keras_pg2.tasks.answering.thing_predictions import predict_things

Source: TypeAlias = PaliGemma2CausalLM | Runner | str | os.PathLike[str]
"""What answers: a model, what runs an exported one, or a file of predictions."""


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
        _check_runner(model, plan)
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


def _check_runner(runner: Runner, plan: Plan) -> None:
    if plan.mode == "likelihood":
        raise ValueError(
            "Expected mode 'answer', 'detect' or 'segment' for an exported model, "
            "which gives no probabilities of given answers; received 'likelihood'. "
            "Take the checkpoint."
        )
    if plan.mode == "segment" and runner.mask_codec is None:
        raise ValueError(
            "Expected a codec of masks for mode 'segment', received an exported model "
            "whose mask_codec is None. Set it, as to MaskCodec.released()."
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
