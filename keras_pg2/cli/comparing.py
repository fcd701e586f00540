"""The command `compare`: two evaluations of the same examples, example by example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_pg2.cli import options
from keras_pg2.cli.messages import notice, print_json, print_result, progress
from keras_pg2.cli.outputs import expand_user
from keras_pg2.start.backends import use_backend

if TYPE_CHECKING:
    from keras_pg2.evaluation.comparison import Comparison

ENDINGS = (".json", ".md")


def _report(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


@options.with_options
def compare(
    a: Annotated[Path, _report("A", "Directory of a report, as evaluate writes it.")],
    b: Annotated[Path, _report("B", "Directory of another one.")],
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
    as_json: options.AsJson = False,
) -> None:
    """Compare two evaluations of the same examples: is B better than A, by chance?"""
    target = None if output is None else _check_target(output)
    use_backend(None)
    from keras_pg2.evaluation import comparison, comparison_text

    with progress("Comparing"):
        found = comparison.compare(
            expand_user(a),
            expand_user(b),
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
