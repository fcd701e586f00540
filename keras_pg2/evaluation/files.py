"""The directory of an evaluation: figures in one file, answers in another.

`report.json` has what `Evaluation` has but its outcomes, which are in
`predictions.jsonl`, a line each, with the truth and the score.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from keras_pg2.evaluation.intervals import MAX_DRAWS
from keras_pg2.evaluation.records import (
    answer_record,
    line_of,
    read_answer,
    read_lines,
)
from keras_pg2.evaluation.results import Evaluation, Failure, Outcome, Published
from keras_pg2.evaluation.things import as_json, read_truth, truth_record
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import write_json
from keras_pg2.files.whole_files import replaced

REPORT = "report.json"
PREDICTIONS = "predictions.jsonl"
ANSWERS = "answers.jsonl"
"""Answers as they come; see `predict`."""
ANSWERS_OF = "answers.json"
"""Model and settings of those answers, which a later call has to share."""


def write_evaluation(evaluation: Evaluation, directory: str | os.PathLike[str]) -> None:
    """Write `report.json` and `predictions.jsonl` into a directory, which is made.

    Raises:
        OSError: if a file cannot be written.
        TypeError: if a truth has details that JSON has no word for.
    """
    folder = Path(directory).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    # Lone surrogates of file names that are not UTF-8 are written as escapes.
    with (
        replaced(folder / PREDICTIONS) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.writelines(_lines(evaluation))
    write_json(report_record(evaluation), folder / REPORT)


def check_no_answers(folder: Path) -> None:
    """Check that a report of other answers may be written to a directory.

    Raises:
        ValueError: if the directory has a model's answers, which would be left beside
            a report that is not of them.
    """
    if (folder / ANSWERS_OF).exists():
        raise ValueError(
            f"Expected an output without a model's answers, received {str(folder)!r}, "
            f"which has them ({ANSWERS}). Choose another output (--output)."
        )


def report_record(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `report.json` has; what is not finite is null there."""
    published = evaluation.published
    return {
        "model": evaluation.model,
        "data_set": evaluation.data_set,
        "split": evaluation.split,
        "recipe": evaluation.recipe,
        "metric": evaluation.metric,
        "figures": _numbers(evaluation.figures),
        "intervals": {
            name: [_number(bound) for bound in bounds]
            for name, bounds in evaluation.intervals.items()
        },
        "num_examples": len(evaluation.outcomes),
        "num_failures": len(evaluation.failures),
        "settings": as_json(dict(evaluation.settings)),
        "published": None
        if published is None
        else {
            "model": published.model,
            "figures": _numbers(published.figures),
            "deviations": _numbers(published.deviations),
            "source": published.source,
            "note": published.note,
        },
        "seconds": evaluation.seconds,
    }


def read_report(directory: str | os.PathLike[str]) -> Evaluation:
    """Return the evaluation that a directory has.

    Raises:
        FileNotFoundError: if there is no report in it.
        OSError: if a file cannot be read.
        ValueError: if a file is none of these; names file and field.
    """
    folder = Path(directory).expanduser()
    for name in (REPORT, PREDICTIONS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"Expected a directory that an evaluation was written to, with {name} "
                f"in it. Received: {str(folder)!r}, where there is none."
            )
    report = Fields.read(folder / REPORT)
    published = report.fields("published", None)
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for line in read_lines(folder / PREDICTIONS):
        common: dict[str, Any] = {"id": _read_id(line), "image": _read_image(line)}
        if "error" in line:
            failures.append(Failure(**common, error=line.text("error")))
            continue
        truth = read_truth(line.fields("truth"))
        outcomes.append(
            Outcome(
                **common,
                prompt=line.text("prompt"),
                answer=read_answer(line, truth),
                truth=truth,
                score=_read_number(line, "score"),
            )
        )
    counts = len(outcomes), len(failures)
    told = report.integer("num_examples"), report.integer("num_failures")
    if counts != told:
        raise ValueError(
            f"Expected {told[0]} answers and {told[1]} failures in "
            f"{str(folder / PREDICTIONS)!r}, as {REPORT} says, received {counts[0]} "
            f"and {counts[1]}. Evaluate again."
        )
    return Evaluation(
        model=report.text("model"),
        data_set=report.text("data_set"),
        split=report.text("split"),
        recipe=report.text("recipe", None),
        metric=report.text("metric"),
        figures=report.table("figures", _read_number),
        intervals=report.table("intervals", _read_interval),
        outcomes=tuple(outcomes),
        failures=tuple(failures),
        settings=_read_settings(report.fields("settings")),
        published=None if published is None else _read_published(published),
        seconds=report.number("seconds", at_least=0),
    )


def _read_settings(fields: Fields) -> dict[str, Any]:
    """Return settings; those that another evaluation is computed by are checked."""
    fields.integer("num_draws", None, at_least=0, at_most=MAX_DRAWS)
    fields.integer("seed", None, at_least=0, at_most=2**64)
    level = fields.number("level", None)
    if level is not None and not 0 < level < 1:
        raise fields.error("level", "a number between 0 and 1")
    fields.integer("num_images", None, at_least=0)
    shard = fields.items("shard", partial(Fields.integer, at_least=0), None)
    if shard is not None and not (len(shard) == 2 and shard[0] < shard[1]):
        raise fields.error("shard", "the index of a part and the number of parts")
    return {name: fields.value(name) for name in fields}


def _lines(evaluation: Evaluation) -> Iterator[str]:
    for outcome in evaluation.outcomes:
        yield line_of(
            {
                "id": outcome.id,
                "image": outcome.image,
                "prompt": outcome.prompt,
                **answer_record(outcome.answer),
                "score": _number(outcome.score),
                "truth": truth_record(outcome.truth),
            }
        )
    for failure in evaluation.failures:
        yield line_of(
            {"id": failure.id, "image": failure.image, "error": failure.error}
        )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _read_number(fields: Fields, name: str) -> float:
    number = None if fields.value(name) is None else fields.number(name)
    return math.nan if number is None else float(number)


def _read_interval(fields: Fields, name: str) -> tuple[float, float]:
    bounds = fields.items(name, _read_number)
    if len(bounds) != 2:
        raise fields.error(name, "a lower and an upper bound")
    return bounds[0], bounds[1]


def _read_id(line: Fields) -> int | str:
    found = line.value("id")
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise line.error("id", "a whole number or a text")
    return found


def _read_image(line: Fields) -> str | tuple[str, ...] | None:
    if isinstance(line.value("image", None), list):
        return tuple(line.items("image", Fields.text))
    image: str | None = line.text("image", None)
    return image


def _read_published(fields: Fields) -> Published:
    return Published(
        model=fields.text("model"),
        figures=fields.table("figures", _read_number),
        deviations=fields.table("deviations", _read_number),
        source=fields.text("source"),
        note=fields.text("note"),
    )
