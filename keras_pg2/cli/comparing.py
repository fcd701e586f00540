"""The command `compare`: two evaluations of the same examples, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_pg2.cli import options
from keras_pg2.cli.evaluating_data import Asking
from keras_pg2.cli.evaluating_start import evaluate_model
from keras_pg2.cli.messages import notice, print_json, print_result, progress
from keras_pg2.cli.outputs import expand_user
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.evaluation import Evaluation
    from keras_pg2.evaluation.comparison import Comparison

ENDINGS = (".json", ".md")
ANSWERED = "Files of answers"


def _report(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def _of_answers(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=ANSWERED, show_default=False)


@dataclass(frozen=True)
class AnsweredData:
    """What files of answers are answers to; the options of the command.

    Attributes:
        data: Files of a data set, or rows of one's own.
        data_set: Name of the data set; None for that of the recipe, or none.
        split: Name of its split; None for the one to evaluate on.
        recipe: Name of a recipe, for its metric.

    Raises:
        ValueError: if the others are given without `data`.
    """

    data: Annotated[
        Path | None,
        _of_answers("What was asked, as for evaluate: a data set's files, or rows."),
    ] = None
    data_set: Annotated[
        str | None, _of_answers("Name of the public data set in --data, as docvqa.")
    ] = None
    split: Annotated[str | None, _of_answers("Split of the data set.")] = None
    recipe: Annotated[
        str | None, _of_answers("A task of the papers, as docvqa, for its metric.")
    ] = None

    def __post_init__(self) -> None:
        for name in ("data_set", "split", "recipe"):
            if getattr(self, name) is not None and self.data is None:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"Expected --data together with {option}, received {option} alone."
                )


@options.with_options
def compare(
    a: Annotated[
        Path,
        _report("A", "Directory of a report of evaluate, or a file of answers."),
    ],
    b: Annotated[Path, _report("B", "Another one.")],
    *,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to score both by. Default: the one both were scored by.",
            show_default=False,
        ),
    ] = None,
    only_common: Annotated[
        bool,
        typer.Option("--only-common", help="Leave out examples that one of them has."),
    ] = False,
    examples: Annotated[
        int, typer.Option(min=0, help="Examples to show, those that differ most.")
    ] = 10,
    draws: Annotated[
        int, typer.Option(min=1, help="Draws of the intervals (bootstrap).")
    ] = 1000,
    level: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of the draws in an interval."),
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"Write it to a file that ends in {' or '.join(ENDINGS)}.",
            show_default=False,
        ),
    ] = None,
    answered: AnsweredData,
    as_json: options.AsJson = False,
) -> None:
    """Compare two evaluations of the same examples: is B better, or is it chance?"""
    target = None if output is None else _check_target(output)
    paths = [expand_user(path) for path in (a, b)]
    _check_data(paths, answered)
    use_backend(None)
    from keras_pg2.evaluation import comparison, comparison_text

    first, second = (
        _score(path, answered, metric) if path.is_file() else path for path in paths
    )
    with progress("Comparing"):
        found = comparison.compare(
            first,
            second,
            metric,
            only_common=only_common,
            num_draws=draws,
            level=level,
            seed=seed,
        )
    if target is not None:
        _write(found, target, examples)
        notice(f"Written to {target}")
    if as_json:
        print_json(comparison_text.comparison_record(found, examples))
    else:
        print_result(comparison_text.comparison_lines(found, examples).rstrip())


def _check_target(output: Path) -> Path:
    if output.suffix not in ENDINGS:
        raise ValueError(
            f"Expected --output to be a file that ends in {' or '.join(ENDINGS)}, "
            f"received {str(output)!r}."
        )
    return expand_user(output)


def _check_data(paths: Sequence[Path], answered: AnsweredData) -> None:
    files = [path for path in paths if path.is_file()]
    if files and answered.data is None:
        raise ValueError(
            f"Expected directories of reports, received the file {str(files[0])!r}. "
            "For files of answers name what was asked: --data, and --data-set or "
            "--recipe."
        )
    if answered.data is not None and not files:
        raise ValueError(
            "Expected --data with files of answers (JSON lines of id and text), "
            "received directories of reports, which have what was asked. Leave it out."
        )


def _score(path: Path, answered: AnsweredData, metric: str | None) -> Evaluation:
    """Return the evaluation of a file of answers."""
    assert answered.data is not None
    asking = Asking(
        data=expand_user(answered.data),
        data_set=answered.data_set,
        split=answered.split,
        limit=None,
        skip_bad=False,
        recipe=answered.recipe,
        prompt=None,
        metric=metric,
        mode="auto",
        num_beams=None,
        max_new_tokens=None,
        antialias=None,
        max_detections=1,
        shard=None,
    )
    with TemporaryDirectory() as folder:
        examined = evaluate_model(
            options.ModelChoice(),
            asking,
            Path(folder),
            predictions=path,
            batch_size=1,
            num_draws=0,
            seed=0,
        )
    return examined.evaluation


def _write(found: Comparison, target: Path, examples: int) -> None:
    from keras_pg2.evaluation.comparison_text import (
        comparison_markdown,
        comparison_record,
    )
    from keras_pg2.files.json_files import write_json
    from keras_pg2.files.whole_files import write_text

    if target.suffix == ".json":
        write_json(comparison_record(found, examples), target)
    else:
        write_text(comparison_markdown(found, examples), target)
