"""RSVQA: questions about pictures from satellites (lr) and from aircraft (hr).

The files are those of zenodo.org/records/6344334 and 6344367:
`LR_split_test_questions.json` has "questions" of id, img_id, type and question,
`LR_split_test_answers.json` "answers" of question_id and answer; entries with "active"
false belong to other splits. The pictures are `Images_LR/<img_id>.tif` and
`Data/<img_id>.tif` (big_vision has .png there). `USGS_split_test_phili_*` is the second
test split, of another town.

`kind` is the type: presence, comp, rural_urban, and count and area, which are left out
as in the papers unless `with_numbers` is true. Then counts of lr and areas of hr are
ranges, as big_vision (`datasets/rsvqa_lr`, `rsvqa_hr`) names them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    check_answers,
    collect,
    read_id,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import (
    Entries,
    Pictures,
    find_file,
    read_entries,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Id, Truth

_NUMERIC = ("count", "area")
_RANGES = {"lr": ("count", "", ""), "hr": ("area", "m2", " m2")}
"""Type whose answers become ranges, what follows its numbers, and those of ranges."""


def _read(
    resolution: str,
    directory: Path,
    split: str,
    on_bad: OnBad,
    with_numbers: bool = False,
) -> Examples:
    prefix = "LR" if resolution == "lr" else "USGS"
    name = split.replace("test_2", "test_phili")
    path = find_file(directory, f"{prefix}_split_{name}_questions.json")
    path_of_answers = find_file(directory, f"{prefix}_split_{name}_answers.json")
    pictures = Pictures(directory, "Images_LR" if resolution == "lr" else "Data")
    problems = Problems(on_bad)
    answers = _read_answers(path_of_answers, problems)

    def read(entry: Fields) -> Example:
        key, kind = read_id(entry, "id"), read_text(entry, "type")
        if key not in answers:
            raise ValueError(
                f"expected an answer to question {key!r} in {path_of_answers}, "
                "received none. Are both files of one split?"
            )
        image = read_id(entry, "img_id")
        return Example(
            id=key,
            images=pictures.find("img_id", f"{image}.tif", f"{image}.png"),
            fields={"question": read_text(entry, "question")},
            truth=Truth(
                answers=(_in_range(answers[key], kind, resolution),), kind=kind
            ),
        )

    def is_asked(entry: Any) -> bool:
        is_numeric = isinstance(entry, dict) and entry.get("type") in _NUMERIC
        return with_numbers or not is_numeric

    entries = _active(read_entries(path, "questions"))
    chosen = [(source, entry) for source, entry in entries if is_asked(entry)]
    return collect(chosen, read, problems, path)


def _read_answers(path: Path, problems: Problems) -> dict[Id, str]:
    """Return answers by the ids of their questions."""
    answers: dict[Id, str] = {}
    for source, entry in _active(read_entries(path, "answers")):
        with problems.of(source):
            if not isinstance(entry, dict):
                raise ValueError(f"expected an object, received {entry!r:.60}.")
            fields = Fields(entry, "the entry")
            key = read_id(fields, "question_id")
            if key in answers:
                raise ValueError(
                    f"expected one answer to each question, received a second to "
                    f"{key!r}."
                )
            [answers[key]] = check_answers([fields.text("answer")], "answer")
    return answers


def _active(entries: Entries) -> Entries:
    """Leave out what is of other splits, of which the files have ids alone."""
    return [
        (source, entry)
        for source, entry in entries
        if not (isinstance(entry, dict) and entry.get("active") is False)
    ]


def _in_range(answer: str, kind: str, resolution: str) -> str:
    ranged, unit, unit_of_range = _RANGES[resolution]
    if kind != ranged:
        return answer
    digits = answer.removesuffix(unit).strip()
    if not digits.isdecimal():
        raise ValueError(
            f"expected an answer to {kind} as a number, received {answer!r:.60}."
        )
    number, last = int(digits), 0
    if number == 0:
        return f"0{unit_of_range}"
    for most in (10, 100, 1000):
        if number <= most:
            return f"between {last + 1}{unit_of_range} and {most}{unit_of_range}"
        last = most
    return f"more than 1000{unit_of_range}"


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "rsvqa_lr",
        title="RSVQA, low resolution: questions about pictures from satellites",
        source="zenodo.org/records/6344334",
        files="LR_split_test_questions.json, LR_split_test_answers.json, Images_LR/",
        splits=("test", "val", "train"),
        lower_case=True,
        read=partial(_read, "lr"),
    ),
    transfer(
        "rsvqa_hr",
        title="RSVQA, high resolution: questions about pictures from aircraft",
        source="zenodo.org/records/6344367",
        files="USGS_split_test_questions.json, USGS_split_test_answers.json, Data/",
        splits=("test", "test_2", "val", "train"),
        lower_case=True,
        read=partial(_read, "hr"),
    ),
)
