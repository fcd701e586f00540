"""OCR-VQA: questions about titles, authors and genres on covers of books.

`dataset.json` (ocr-vqa.github.io) is an object of books by their ids, each with
imageURL, questions, answers and split (1 for train, 2 for val, 3 for test). The
publisher's script saves a cover as `images/` + id + the ending of its address.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    check_answers,
    check_has_split,
    collect,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_table
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_NUMBERS = {"train": 1, "val": 2, "test": 3}


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, "dataset.json")
    pictures = Pictures(directory, "images")
    problems = Problems(on_bad)
    entries: list[tuple[str, Any]] = []
    for source, name, book in read_table(path):
        with problems.of(source):
            entries += _questions(source, name, Fields(_checked(book), "the entry"))

    def read(entry: Fields) -> Example:
        return Example(
            id=entry.text("id"),
            images=pictures.find("imageURL", entry.text("image")),
            fields={"question": read_text(entry, "question")},
            truth=Truth(answers=check_answers([entry.text("answer")], "answers")),
        )

    chosen = [one for one in entries if one[1]["split"] == _NUMBERS[split]]
    check_has_split([*chosen, *problems.messages], split, path)
    return collect(chosen, read, problems, path)


def _checked(book: Any) -> dict[str, Any]:
    if not isinstance(book, dict):
        raise ValueError(f"expected an object, received {type(book).__name__}.")
    return book


def _questions(source: str, name: str, book: Fields) -> list[tuple[str, Any]]:
    """Return the questions about a book, as many as it has answers."""
    split = book.integer("split", at_least=1, at_most=3)
    questions = book.items("questions", Fields.value)
    answers = book.items("answers", Fields.value)
    if len(questions) != len(answers):
        raise ValueError(
            f"expected an answer to each question, received {len(questions)} "
            f"questions and {len(answers)} answers."
        )
    ending = PurePosixPath(urlsplit(book.text("imageURL")).path).suffix
    return [
        (
            f"{source}, question {index}",
            {
                "id": f"{name}_{index}",
                "image": f"{name}{ending}",
                "question": question,
                "answer": answer,
                "split": split,
            },
        )
        for index, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "ocrvqa",
        title="OCR-VQA: questions about covers of books",
        source="ocr-vqa.github.io",
        files="dataset.json, images/",
        splits=("test", "val", "train"),
        read=_read,
    ),
)
