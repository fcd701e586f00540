"""VizWiz-VQA: questions that blind people asked about their own photographs.

The files are those of vizwiz.org/tasks-and-datasets/vqa: `Annotations/val.json` is a
list of image, question, ten answers and answer_type (yes/no, number, other,
unanswerable), which is `kind`; the pictures are in `val/`. Test has no answers. Blank
answers stay among the answers, but are not trained on.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import collect, read_answers, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    name = f"{split}.json"
    path = find_file(directory, f"Annotations/{name}", f"annotations/{name}", name)
    pictures = Pictures(directory, split, f"Images/{split}", f"images/{split}")

    def read(entry: Fields) -> Example:
        image = read_text(entry, "image")
        is_test = split == "test"
        return Example(
            # A picture has one question, and is its only name.
            id=image,
            images=pictures.find("image", image),
            fields={"question": read_text(entry, "question")},
            truth=Truth(
                answers=read_answers(entry, "answers", is_test=is_test, key="answer"),
                kind=entry.text("answer_type", ""),
            ),
        )

    return collect(read_entries(path), read, Problems(on_bad), path)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "vizwizvqa",
        title="VizWiz-VQA: questions of blind people about their photographs",
        source="vizwiz.org/tasks-and-datasets/vqa",
        files="Annotations/val.json, val/",
        splits=("val", "train", "test"),
        read=_read,
    ),
)
