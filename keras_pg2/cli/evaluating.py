"""The command `evaluate`: how good a model is on a data set, as a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_pg2.cli import options
from keras_pg2.cli.evaluating_data import Asking
from keras_pg2.cli.evaluating_start import (
    Examined,
    evaluate_model,
    merge_reports,
    read_shard,
)
from keras_pg2.cli.evaluation_summary import summary_lines
from keras_pg2.cli.messages import fail_in_part, print_json, print_result
from keras_pg2.cli.options import ModelChoice, with_options
from keras_pg2.cli.outputs import expand_user
from keras_pg2.start.backends import use_backend

DATA, ASKED, RUN = "Data", "What is asked, and scored", "Run"
_OF_A_MODEL = {
    "adapter",
    "dtype",
    "batch_size",
    "num_beams",
    "max_new_tokens",
    "antialias",
    "max_detections",
}
"""Parameters that say which model answers and how it is asked."""


def _option(panel: str, help: str, *names: str, **kwargs: Any) -> Any:
    return typer.Option(
        *names, help=help, rich_help_panel=panel, show_default=False, **kwargs
    )


@with_options
def evaluate(
    context: typer.Context,
    *,
    output: Annotated[
        Path,
        _option(
            RUN,
            "Directory of the report. Answers are on the disk as they come; the same "
            "command goes on where it was stopped.",
            "--output",
            "-o",
            metavar="DIR",
        ),
    ],
    data: Annotated[
        Path | None,
        _option(
            DATA,
            "Directory of a public data set's own files; or a file of rows of your "
            "own, as for finetune (JSON lines of image, prefix, suffix; a table; ...).",
        ),
    ] = None,
    data_set: Annotated[
        str | None,
        _option(
            DATA,
            "Name of the public data set in --data, as docvqa; of rows of your own, "
            "what they are: jsonl, table, coco, yolo, labelme. Default: that of the "
            "recipe, if --data is a directory; or what the file says.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        _option(DATA, "Split of the data set. Default: the one to evaluate on."),
    ] = None,
    limit: Annotated[
        int | None, _option(DATA, "The first N examples alone.", min=1, metavar="N")
    ] = None,
    skip_bad: Annotated[
        bool,
        _option(
            DATA,
            "Leave out entries that cannot be used, and count them.",
            "--skip-bad",
        ),
    ] = False,
    choice: ModelChoice,
    predictions: Annotated[
        Path | None,
        _option(
            options.MODEL,
            "Score a file of answers instead of a model: JSON lines of id and text. "
            "--preset beside it names whose codec decodes masks (default: the released "
            "one).",
            metavar="FILE.jsonl",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        _option(
            ASKED,
            "A task of the papers, as docvqa: its prompt, metric, beams, antialias, "
            "number of pictures and length of answers.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        _option(
            ASKED,
            "Prompt, with names of fields in braces, as 'answer en {question}'. "
            "Default: that of the recipe or the data set.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        _option(ASKED, "Metric. Default: that of the recipe or the data set."),
    ] = None,
    mode: Annotated[
        str,
        _option(
            ASKED,
            "answer: what the model likes to say. detect, segment: answers held to the "
            "form of things found. likelihood: how probable the right answers are. "
            "Default: by prompts and metric.",
        ),
    ] = "auto",
    num_beams: Annotated[
        int | None, _option(ASKED, "Beams. Default: the recipe's, else 1.", min=1)
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        _option(ASKED, "Most tokens of an answer. Default: the recipe's.", min=1),
    ] = None,
    antialias: Annotated[
        bool | None,
        _option(
            ASKED,
            "Whether pictures are resized with antialias. Default: the recipe's way, "
            "else the preset's.",
            "--antialias/--no-antialias",
        ),
    ] = None,
    max_detections: Annotated[
        int, _option(ASKED, "Most things in a picture (default 20).", min=1)
    ] = 20,
    batch_size: Annotated[
        int, _option(RUN, "Examples at a time (default 8).", min=1)
    ] = options.BATCH_SIZE,
    shard: Annotated[
        str | None,
        _option(
            RUN,
            "A part of the data, as 0/2 and 1/2, for processes beside each other, each "
            "with an --output of its own.",
            metavar="I/N",
        ),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        _option(
            RUN,
            "Make one report of those of all parts (given once for each); nothing is "
            "asked.",
            metavar="DIR",
        ),
    ] = None,
    num_draws: Annotated[
        int, _option(RUN, "Draws of the intervals (default 1000).", min=0)
    ] = 1000,
    seed: Annotated[int, _option(RUN, "Seed of the draws (default 0).", min=0)] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Ask a model about a whole data set, and report how good its answers are.

    The report has every figure with its interval, all answers, and beside them the
    paper's figure for the task, size and resolution, where there is one.
    """
    use_backend(choice.backend)
    output = expand_user(output)
    given = _given(context)
    if merge:
        own = ("merge", "output", "as_json", "backend")
        others = [flag for name, flag in given.items() if name not in own]
        examined = merge_reports(merge, output, others)
    else:
        if predictions is not None:
            _check_asks_nothing(given)
        if data is None:
            raise ValueError(
                "Expected a data set or a file of rows (--data), or parts to merge "
                "(--merge), received neither. Scenes (--data-set scenes) are drawn "
                "into the directory that --data names."
            )
        asking = Asking(
            data=expand_user(data),
            data_set=data_set,
            split=split,
            limit=limit,
            skip_bad=skip_bad,
            recipe=recipe,
            prompt=prompt,
            metric=metric,
            mode=mode,
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            antialias=antialias,
            max_detections=max_detections,
            shard=None if shard is None else read_shard(shard),
        )
        examined = evaluate_model(
            choice,
            asking,
            output,
            predictions=predictions,
            batch_size=batch_size,
            num_draws=num_draws,
            seed=seed,
        )
    _print(examined, output, as_json)


def _given(context: typer.Context) -> dict[str, str]:
    """Return the options on the command line, by the names of their parameters."""
    return {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if parameter.name is not None
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name != "DEFAULT"
    }


def _check_asks_nothing(given: Mapping[str, str]) -> None:
    """Refuse options of asking a model beside a file of answers.

    Raises:
        ValueError: naming them.
    """
    found = [flag for name, flag in given.items() if name in _OF_A_MODEL]
    if found:
        raise ValueError(
            "Expected --predictions without options of asking a model, whose answers "
            f"they would be; received {', '.join(found)} too. Leave them out."
        )


def _print(examined: Examined, output: Path, as_json: bool) -> None:
    from keras_pg2.evaluation.files import report_record

    found = examined.evaluation
    if as_json:
        print_json({"output": str(output), **report_record(found)})
    else:
        for line in summary_lines(found, examined.skipped):
            print_result(line)
        print_result(f"Report: {output}")
    errors = [f"{one.id}: {one.error}" for one in found.failures]
    if not examined.may_skip:
        fail_in_part(errors, len(errors) + len(found.outcomes))
