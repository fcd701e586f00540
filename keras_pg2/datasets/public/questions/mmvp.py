"""MMVP: 150 pairs of pictures that look alike to CLIP, and a question about each pair.

`Questions.csv` (huggingface.co/datasets/MMVP/MMVP) has columns Index (published as
"lndex", with a small L), Question, Options ("(a) Open (b) Closed") and Correct Answer
("(a)"); the pictures are `MMVP Images/<index>.jpg`. Two rows that follow each other are
a pair. The official figure counts pairs with two right answers; `Truth.details["pair"]`
has the number of the pair, and the question is to be answered by the words of an
option.
"""

from __future__ import annotations

import re
from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import OPTION_SEPARATOR, collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import read_csv
from keras_pg2.datasets.public.published_files import Entries, Pictures, find_file
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_AS_PUBLISHED = {"lndex": "Index"}
_OPTIONS = re.compile(r"\(a\)\s*(\S.*?)\s*\(b\)\s*(\S.*?)\s*")


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, "Questions.csv")
    pictures = Pictures(directory, "MMVP Images")

    def read(entry: Fields) -> Example:
        index = read_text(entry, "Index")
        if not index.isdecimal() or int(index) < 1:
            raise entry.error("Index", "a number from 1")
        found = _OPTIONS.fullmatch(read_text(entry, "Options"))
        if found is None:
            raise entry.error("Options", "'(a) ... (b) ...'")
        right = read_text(entry, "Correct Answer").strip("() ").lower()
        if right not in ("a", "b"):
            raise entry.error("Correct Answer", "'(a)' or '(b)'")
        return Example(
            id=int(index),
            images=pictures.find("Index", f"{int(index)}.jpg"),
            fields={
                "question": read_text(entry, "Question"),
                "options": OPTION_SEPARATOR.join(found.groups()),
            },
            truth=Truth(
                answers=(found[1] if right == "a" else found[2],),
                details={"pair": (int(index) - 1) // 2},
            ),
        )

    return collect(_rows(path), read, Problems(on_bad), path)


def _rows(path: Path) -> Entries:
    return [
        (source, {_AS_PUBLISHED.get(name, name): cell for name, cell in row.items()})
        for source, row in read_csv(path, "Question", "Options", "Correct Answer")
    ]


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="mmvp",
        title="MMVP: pairs of photographs that look alike, with two options",
        source="huggingface.co/datasets/MMVP/MMVP",
        files="Questions.csv, MMVP Images/",
        splits=("test",),
        metric="exact_match",
        prompt="answer en  {question} choose from: {options}",
        read=_read,
    ),
)
