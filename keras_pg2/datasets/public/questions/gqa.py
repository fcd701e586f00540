"""GQA, questions made of scene graphs, and xGQA, its testdev split in eight languages.

`testdev_balanced_questions.json` (cs.stanford.edu/people/dorarad/gqa/download.html) is
an object of questions by their ids, each with imageId, question, answer and types;
`train_all_questions/` has ten such files. The pictures are in `images/`. xGQA
(github.com/adapter-hub/xGQA) has `testdev_balanced_questions_de.json` of the same form,
with English answers, in `zero_shot/`.

`kind` is the structural type of GQA: query, verify, logical, choose or compare. The
papers' figure of xGQA is the mean over the seven languages other than English.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import check_answers, collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import (
    Entries,
    Pictures,
    find_file,
    read_table,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_ID = "id of the question"
"""Under which the id of an entry is added to it."""
_LANGUAGES = ("bn", "de", "id", "ko", "pt", "ru", "zh", "en")


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    name = f"{split}_questions.json"
    folders = ("", "questions1.2/", "questions/")
    paths = [
        path
        for folder in folders
        for path in sorted((directory / f"{folder}{split}_questions").glob("*.json"))
    ]
    if not paths:
        paths = [find_file(directory, *(f"{folder}{name}" for folder in folders))]
    is_test = split.split("_")[0] in ("test", "challenge", "submission")
    return _read_files(directory, paths, on_bad, is_test=is_test)


def _read_translated(directory: Path, split: str, on_bad: OnBad) -> Examples:
    name = f"testdev_balanced_questions_{split}.json"
    path = find_file(
        directory, name, f"zero_shot/{name}", f"annotations/zero_shot/{name}"
    )
    return _read_files(directory, [path], on_bad, is_test=False)


def _read_files(
    directory: Path, paths: list[Path], on_bad: OnBad, *, is_test: bool
) -> Examples:
    pictures = Pictures(directory, "images")

    def read(entry: Fields) -> Example:
        is_answered = "answer" in entry or not is_test
        answers = [entry.text("answer")] if is_answered else []
        types = entry.fields("types", None)
        picture = entry.text("imageId")
        return Example(
            id=entry.text(_ID),
            images=pictures.find("imageId", f"{picture}.jpg"),
            fields={"question": read_text(entry, "question")},
            truth=Truth(
                answers=check_answers(answers, "answer", is_test=is_test),
                kind="" if types is None else types.text("structural", ""),
            ),
        )

    entries: Entries = [
        (source, {**entry, _ID: name} if isinstance(entry, dict) else entry)
        for path in paths
        for source, name, entry in read_table(path)
    ]
    return collect(entries, read, Problems(on_bad), paths[0])


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "gqa",
        title="GQA: questions made of scene graphs, about photographs",
        source="cs.stanford.edu/people/dorarad/gqa/download.html",
        files="testdev_balanced_questions.json, images/",
        splits=(
            "testdev_balanced",
            "val_balanced",
            "train_balanced",
            "testdev_all",
            "val_all",
            "train_all",
            "test_balanced",
            "test_all",
            "challenge_balanced",
            "challenge_all",
            "submission_all",
        ),
        read=_read,
    ),
    transfer(
        "gqa",
        name="xgqa",
        title="xGQA: GQA's testdev split, asked in other languages",
        source="github.com/adapter-hub/xGQA",
        files="testdev_balanced_questions_bn.json, images/",
        splits=_LANGUAGES,
        read=_read_translated,
    ),
)
