"""`evaluate`: from a model and examples to figures that can be trusted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keras_pg2.checks.texts import first_names, printable
from keras_pg2.datasets.public.examples import Example
from keras_pg2.evaluation.answers_in_files import answers_of_file
from keras_pg2.evaluation.asking import Mode, Plan, Shard, make_plan
from keras_pg2.evaluation.files import ANSWERS, ANSWERS_OF, check_no_answers
from keras_pg2.evaluation.intervals import check_draws
from keras_pg2.evaluation.mask_decoding import with_mask_decoder
from keras_pg2.evaluation.model_settings import (
    fingerprint,
    model_kind,
    name_of,
    settings_of,
    versions_of,
)
from keras_pg2.evaluation.publishing import find_published
from keras_pg2.evaluation.records import read_answer
from keras_pg2.evaluation.results import Evaluation, Failure, Outcome
from keras_pg2.evaluation.scoring import score_outcomes
from keras_pg2.evaluation.sources import Source, check_source
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import read_json, write_json
from keras_pg2.metrics.metric import Metric
from keras_pg2.preprocessing.image_sources import source_name
from keras_pg2.recipes import Recipe

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM
    from keras_pg2.tasks.answering.runners import Runner


def evaluate(
    model: Source,
    examples: Sequence[Example],
    metric: str | Metric | None = None,
    prompt: str | None = None,
    recipe: str | Recipe | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    mode: Mode | Literal["auto"] = "auto",
    batch_size: int = 8,
    max_new_tokens: int | None = None,
    num_beams: int | None = None,
    antialias: bool | None = None,
    max_detections: int = 20,
    shard: Shard | None = None,
    name: str | None = None,
    data_set: str = "",
    split: str = "",
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    num_workers: int | None = None,
    show_progress: bool = True,
) -> Evaluation:
    """Ask a model about every example, and score its answers.

        examples = keras_pg2.datasets.public.read("docvqa", "docvqa/", split="val")
        found = evaluate(model, examples, recipe="docvqa", output="report")
        found.figures["anls"], found.intervals["anls"]

    With `output` answers are on the disk as they come, in `answers.jsonl`; a call that
    was stopped is gone on with by the same call, and then gives what one call without a
    stop gives. Another metric on the same output asks nothing anew.

    Args:
        model: A `PaliGemma2CausalLM`, what runs an exported one (`deploy.LiteRTModel`,
            `deploy.ONNXModel`), or a file of predictions: JSON lines of `id` and
            `text`, as `predict` writes them; `scores` of the boxes in the text, or
            `things`, may be there too.
        examples: What is asked, as readers of `datasets.public` give them.
        metric: Name of a metric or a metric; None for that of the recipe.
        prompt: The prompt, with names of fields in braces; None for that of the recipe,
            or else "{prompt}".
        recipe: Name of a recipe or a recipe, whose prompt, metric, beams, antialias,
            number of pictures and length of answers are taken, each unless it is given
            here; None for none.
        output: Directory of the answers, made if it is not there; None keeps all in
            memory.
        mode: "answer" lets the model say what it likes. "detect" and "segment" hold it
            to the form of things found, as `model.detect` does. "likelihood" computes
            the probability of the right answer. "auto" is the last for the metric
            perplexity, "detect" or "segment" if all prompts begin so and the truth has
            things, otherwise "answer".
        batch_size: Examples that go through the network together.
        max_new_tokens: Most tokens of an answer; None for the recipe's length, without
            a recipe as `generate`.
        num_beams: Beams of the search; None for the recipe's, or else 1, which takes
            the likeliest tokens. The sampler of `compile` does not matter.
        antialias: Whether pictures are resized with antialias; None for the recipe's
            way, or else the model's.
        max_detections: Most things in a picture, for "detect" and "segment".
        shard: Index of a part of the data and number of parts, as (0, 2), for several
            processes; `merge` makes one evaluation of theirs.
        name: What the model is called; None finds one.
        data_set: Name or path of the data set, for the report and published figures.
        split: Name of the split, likewise.
        num_draws: Draws of the bootstrap intervals; 0 computes none.
        level: Share of the draws that an interval holds.
        seed: Seed of the draws.
        num_workers: Threads that decode pictures; None for one a core.
        show_progress: Whether to show a bar, on a terminal.

    Raises:
        TypeError, ValueError: if an argument, an example or the model is not as above,
            or `output` has answers of something else; before anything is computed.
        FileNotFoundError, PermissionError: if a file is missing or not readable.
        ImportError: if the metric needs a package that is not installed.
        BlockingIOError: if another process writes to `output`.
        OSError: if `output` cannot be written.
        FloatingPointError: if the network computes NaN or infinity.
    """
    plan = make_plan(
        examples,
        metric,
        prompt,
        recipe,
        mode=mode,
        max_new_tokens=max_new_tokens,
        num_beams=num_beams,
        antialias=antialias,
        max_detections=max_detections,
        shard=shard,
    )
    return evaluate_plan(
        model,
        plan,
        output,
        batch_size=batch_size,
        name=name,
        data_set=data_set,
        split=split,
        num_draws=num_draws,
        level=level,
        seed=seed,
        num_workers=num_workers,
        show_progress=show_progress,
    )


def evaluate_plan(
    model: Source,
    plan: Plan,
    output: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 8,
    name: str | None = None,
    data_set: str = "",
    split: str = "",
    num_draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    num_workers: int | None = None,
    show_progress: bool = True,
) -> Evaluation:
    """Ask a model what was planned, and score its answers; see `evaluate`."""
    start = time.monotonic()
    if num_draws:
        check_draws(num_draws)
    check_source(model, plan)
    plan = with_mask_decoder(plan, model)
    called = name or name_of(model)
    settings = settings_of(model, plan)
    answers = None
    seconds = 0.0
    if output is not None:
        folder = Path(output).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(model, str | os.PathLike):
            check_no_answers(folder)
        else:
            answers = folder / ANSWERS
            seconds = _claim_answers(folder, {"model": called, **settings}, model)
    try:
        if isinstance(model, str | os.PathLike):
            records = answers_of_file(model, plan)
        else:
            # Of what follows this alone needs Keras.
            from keras_pg2.evaluation.answering import answer_plan

            records = answer_plan(
                model,
                plan,
                answers,
                batch_size=batch_size,
                num_workers=num_workers,
                show_progress=show_progress,
            )
    finally:
        seconds += time.monotonic() - start
        if answers is not None:
            _note_seconds(folder, seconds)
    scored = time.monotonic()
    outcomes, failures = _outcomes(plan, records)
    if not outcomes:
        raise ValueError(
            f"Expected an answer to score, received none: all {len(failures)} examples "
            f"failed, the first, {_called(failures[0])}, with: {failures[0].error}"
        )
    found = score_outcomes(plan.metric, outcomes, num_draws, level, seed)
    return Evaluation(
        model=called,
        data_set=data_set,
        split=split,
        recipe=plan.recipe,
        metric=plan.metric.name,
        figures=found.figures,
        intervals=found.intervals,
        outcomes=found.outcomes,
        failures=tuple(failures),
        settings={
            **settings,
            "num_draws": num_draws,
            "level": level,
            "seed": seed,
            "versions": versions_of(model),
        },
        published=find_published(
            plan.recipe,
            data_set,
            split,
            model_kind(model),
            plan.metric.name,
            found.figures,
        ),
        seconds=round(seconds + time.monotonic() - scored, 3),
    )


def _called(failure: Failure) -> str:
    image = "" if failure.image is None else f" ({failure.image})"
    return printable(f"{failure.id!r}{image}")


def _outcomes(
    plan: Plan, records: Mapping[tuple[str, str | None], Fields]
) -> tuple[list[Outcome], list[Failure]]:
    """Return examples with their answers, and those that have none."""
    outcomes, failures = [], []
    for one in plan.asked:
        record = records[str(one.id), one.prompt]
        names = [source_name(image) for image in one.images]
        image: Any = None
        if names and None not in names:
            image = names[0] if len(names) == 1 else tuple(names)
        if "error" in record:
            failures.append(Failure(id=one.id, image=image, error=record.text("error")))
            continue
        outcome = Outcome(
            id=one.id,
            image=image,
            prompt=one.prompt,
            answer=read_answer(record, one.truth),
            truth=one.truth,
            score=float("nan"),
        )
        outcomes.append(outcome)
    return outcomes, failures


def _claim_answers(
    folder: Path, settings: Mapping[str, Any], model: PaliGemma2CausalLM | Runner
) -> float:
    """Note what answers are of; return the seconds that those there have taken.

    Raises:
        ValueError: if there are answers of something else.
    """
    path = folder / ANSWERS_OF
    # As JSON has it, in which a tuple is a list.
    own = json.loads(json.dumps({**settings, "weights": fingerprint(model)}))
    if not (folder / ANSWERS).exists():
        write_json({**own, "seconds": 0.0}, path)
        return 0.0
    before = Fields.read(path) if path.exists() else Fields({}, path)
    seconds = before.number("seconds", 0.0, at_least=0)
    names = {*before, *own} - {"seconds"}
    changed = sorted(k for k in names if before.value(k, None) != own.get(k))
    if changed:
        raise ValueError(
            f"Expected answers of the same model and settings in {str(folder)!r}, "
            f"received others: {first_names(changed)} changed. Choose another output "
            "(--output), or remove this one."
        )
    return float(seconds)


def _note_seconds(folder: Path, seconds: float) -> None:
    path = folder / ANSWERS_OF
    write_json({**read_json(path), "seconds": round(seconds, 3)}, path)
