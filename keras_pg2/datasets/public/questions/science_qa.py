"""ScienceQA: questions from science lessons with two to five options.

`problems.json` (github.com/lupantech/ScienceQA, data/scienceqa) is an object of
problems by their numbers, each with question, choices, answer (an index), hint, image
("image.png" or null), subject and split; the pictures are `test/<number>/image.png`.
Many problems have no picture; as big_vision does (`datasets/science_qa`), they
are left out unless `with_text_only` is true, when they have no picture at all. `kind`
is the subject: natural, social or language science.

In training big_vision puts the options in another order each time
(`pp/proj/paligemma/sciqa_ops.py`); `DataSet.vary` does it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    check_answers,
    check_has_split,
    collect,
    read_options,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_table
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth
from keras_pg2.preprocessing.images import ImageInput

_NO_HINT = "N/A"
_NUMBER = "number of the problem"
"""Under which the name of an entry is added to it."""


def _read(
    directory: Path, split: str, on_bad: OnBad, with_text_only: bool = False
) -> Examples:
    path = find_file(directory, "problems.json")
    pictures = Pictures(directory, split, f"images/{split}")

    def read(entry: Fields) -> Example:
        number = entry.text(_NUMBER)
        image = None if entry.value("image") is None else entry.text("image")
        images: ImageInput | tuple[ImageInput, ...] = ()
        if image:
            images = pictures.find("image", f"{number}/{image}")
        hint = entry.text("hint").strip()
        if hint:
            check_answers([hint], "hint")
        example = Example(
            id=number,
            images=images,
            fields={"question": read_text(entry, "question"), "hint": hint or _NO_HINT},
            truth=Truth(kind=entry.text("subject", "")),
        )
        options = read_options(entry, "choices")
        if len(options) > len(ascii_uppercase):
            raise entry.error("choices", "at most 26 options")
        return _with_options(
            example, options, entry.integer("answer", at_most=len(options) - 1)
        )

    def is_asked(entry: Any) -> bool:
        if not isinstance(entry, dict):
            return True
        is_text_only = entry.get("image", ...) in (None, "")
        return entry.get("split", split) == split and (
            with_text_only or not is_text_only
        )

    entries = [
        (source, {**entry, _NUMBER: number} if isinstance(entry, dict) else entry)
        for source, number, entry in read_table(path)
        if is_asked(entry)
    ]
    check_has_split(entries, split, path)
    return collect(entries, read, Problems(on_bad), path)


def shuffle_options(example: Example, rng: np.random.Generator) -> Example:
    """Return a problem with its options in another order.

    Args:
        example: The problem, as the reader gives it.
        rng: Draws the order.
    """
    options = example.truth.details["options"]
    order = rng.permutation(len(options)).tolist()
    right = order.index(example.truth.details["right"])
    return _with_options(example, [options[index] for index in order], right)


def _with_options(example: Example, options: Sequence[str], right: int) -> Example:
    """Return an example that is asked and answered by letters of options."""
    lettered = zip(ascii_uppercase, options, strict=False)
    text = ", ".join(f"({letter}) {option}" for letter, option in lettered)
    return replace(
        example,
        fields={**example.fields, "options": text},
        truth=replace(
            example.truth,
            answers=(f"The answer is {ascii_uppercase[right]}.",),
            details={"options": tuple(options), "right": right},
        ),
    )


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "science_qa",
        title="ScienceQA: problems of science lessons, with options",
        source="github.com/lupantech/ScienceQA",
        files="problems.json, test/",
        splits=("test", "val", "train"),
        read=_read,
        vary=shuffle_options,
    ),
)
