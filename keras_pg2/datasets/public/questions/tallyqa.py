"""TallyQA and CountBenchQA: how many things there are in a picture.

TallyQA's `test.json` (github.com/manoja328/tallyqa) is a list of image, question,
question_id, image_id, answer (a number) and, for test alone, issimple; the pictures are
in Visual Genome's `VG_100K/` and `VG_100K_2/` and in COCO's `train2014/` and
`val2014/`. `kind` is "simple" or "complex".

CountBenchQA has big_vision's questions (`datasets/countbenchqa/data/
countbench_paired_questions.json`, a list of {"question": ...} in the order of
CountBench) about the pictures of CountBench in the parquet file of
huggingface.co/datasets/nielsr/countbench (columns image, text, number). Entries whose
picture is missing there, or has one channel alone, are left out, as big_vision does.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from keras_pg2.checks.packages import import_packages
from keras_pg2.checks.texts import printable
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_QUESTIONS = "countbench_paired_questions.json"
_PARQUET = "train-00000-of-00001-cf54c241ba947306.parquet"


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, f"{split}.json")
    pictures = Pictures(directory, "", "images", "visual_genome", "coco")

    def read(entry: Fields) -> Example:
        kind = ""
        if split == "test":
            if "issimple" not in entry:
                raise ValueError(
                    "expected issimple, which the file of test has, received none. Is "
                    "it the file of another split?"
                )
            kind = "simple" if entry.flag("issimple") else "complex"
        return Example(
            id=read_id(entry, "question_id"),
            images=pictures.find("image", entry.value("image")),
            fields={"question": read_text(entry, "question")},
            truth=Truth(answers=(_number(entry, "answer"),), kind=kind),
        )

    return collect(read_entries(path), read, Problems(on_bad), path)


def _read_count_bench(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, _QUESTIONS)
    rows = read_parquet(find_file(directory, _PARQUET, f"data/{_PARQUET}"))
    questions = read_entries(path)
    if len(questions) != len(rows):
        raise ValueError(
            f"{path}: expected a question for each picture of CountBench, received "
            f"{len(questions)} questions and {len(rows)} pictures. Is it another "
            "version of the file?"
        )
    entries = []
    for index, ((source, entry), row) in enumerate(zip(questions, rows, strict=True)):
        if not _has_channels(row.get("image")):
            continue
        known = {"id": index, "image": row["image"], "number": row.get("number")}
        entry = {**entry, **known} if isinstance(entry, dict) else entry
        entries.append((source, entry))

    def read(entry: Fields) -> Example:
        return Example(
            id=entry.integer("id"),
            images=entry.value("image"),
            fields={"question": read_text(entry, "question")},
            truth=Truth(answers=(_number(entry, "number"),)),
        )

    return collect(entries, read, Problems(on_bad), path)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a parquet file.

    Raises:
        ImportError: if pyarrow is not installed; says what to install.
        ValueError: if it is no parquet file.
    """
    parquet, arrow = import_packages(
        "pyarrow.parquet", "pyarrow", advice="Run: pip install 'keras-pg2[parquet]'."
    )
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except arrow.ArrowException as error:
        raise ValueError(
            f"{path}: expected a parquet file ({printable(error)})."
        ) from error
    return rows


def _has_channels(image: Any) -> bool:
    """Return whether there is a picture of several channels, or a damaged one."""
    if not isinstance(image, dict):
        return image is not None
    try:
        with Image.open(io.BytesIO(image.get("bytes") or b"")) as opened:
            return len(opened.getbands()) > 1
    except OSError:
        return True


def _number(entry: Fields, name: str) -> str:
    """Return a number of things in digits, also where it is a text of digits."""
    value = entry.value(name)
    if isinstance(value, str) and value.isdecimal():
        return str(int(value))
    return str(entry.integer(name))


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "tallyqa",
        title="TallyQA: how many there are, in photographs",
        source="github.com/manoja328/tallyqa",
        files="test.json, VG_100K/, VG_100K_2/",
        splits=("test", "train"),
        read=_read,
    ),
    transfer(
        "tallyqa",
        name="countbenchqa",
        title="CountBenchQA: how many there are, two to ten",
        source="github.com/google-research/big_vision (datasets/countbenchqa)",
        files=f"{_QUESTIONS}, {_PARQUET}",
        splits=("huggingface",),
        read=_read_count_bench,
    ),
)
