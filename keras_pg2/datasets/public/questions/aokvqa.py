"""A-OKVQA: questions about pictures of COCO 2017, to be answered freely or by choice.

`aokvqa_v1p0_val.json` (github.com/allenai/aokvqa) is a list of question_id, image_id,
question, split, four choices, correct_choice_idx, ten direct_answers and
difficult_direct_answer; the pictures are in `val2017/`. The official evaluation of
direct answers leaves the difficult ones out, big_vision's does not: `kind` tells them
apart.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    OPTION_SEPARATOR,
    check_split,
    collect,
    read_answers,
    read_id,
    read_options,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth


def _read(by_choice: bool, directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, f"aokvqa_v1p0_{split}.json")
    pictures = Pictures(directory, f"{split}2017", f"images/{split}2017")

    def read(entry: Fields) -> Example:
        check_split(entry, "split", split)
        fields = {"question": read_text(entry, "question")}
        kind = ""
        if by_choice:
            options = read_options(entry, "choices")
            fields["options"] = OPTION_SEPARATOR.join(options)
            answers = _right_option(entry, options, is_test=split == "test")
        else:
            answers = read_answers(entry, "direct_answers", is_test=split == "test")
            is_hard = entry.flag("difficult_direct_answer")
            kind = "difficult" if is_hard else "not difficult"
        number = entry.integer("image_id", at_most=10**12 - 1)
        return Example(
            id=read_id(entry, "question_id"),
            images=pictures.find("image_id", f"{number:012d}.jpg"),
            fields=fields,
            truth=Truth(answers=answers, kind=kind),
        )

    return collect(read_entries(path), read, Problems(on_bad), path)


def _right_option(
    entry: Fields, options: tuple[str, ...], *, is_test: bool
) -> tuple[str, ...]:
    if is_test and "correct_choice_idx" not in entry:
        return ()
    return (options[entry.integer("correct_choice_idx", at_most=len(options) - 1)],)


_FILES = "aokvqa_v1p0_val.json, val2017/"
_SOURCE = "github.com/allenai/aokvqa"
DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "aokvqa_da",
        title="A-OKVQA, direct answers: questions that ask for knowledge",
        source=_SOURCE,
        files=_FILES,
        splits=("val", "train", "test"),
        read=partial(_read, False),
    ),
    transfer(
        "aokvqa_mc",
        title="A-OKVQA, multiple choice: questions with four options",
        source=_SOURCE,
        files=_FILES,
        splits=("val", "train", "test"),
        read=partial(_read, True),
    ),
)
