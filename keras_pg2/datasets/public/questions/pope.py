"""POPE: whether there is a thing in a picture, to measure hallucination.

`coco_pope_random.json`, `coco_pope_popular.json` and `coco_pope_adversarial.json`
(github.com/AoiDragon/POPE, output/coco) have a JSON object a line: question_id, image,
text and label ("yes" or "no"); the pictures are COCO's `val2014/`. The things that are
not there are drawn by chance, or are frequent ones, or those that go with what is.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import collect, read_id, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_lines
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    name = f"coco_pope_{split}.json"
    path = find_file(directory, name, f"output/coco/{name}", f"coco/{name}")
    pictures = Pictures(directory, "val2014", "images/val2014", "images")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        return Example(
            id=read_id(entry, "question_id"),
            images=pictures.find("image", entry.value("image")),
            fields={"question": read_text(entry, "text")},
            truth=Truth(
                answers=(entry.text("label", choices=("yes", "no")),), kind=split
            ),
        )

    return collect(read_lines(path, problems), read, problems, path)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "pope",
        title="POPE: whether a thing is in a photograph",
        source="github.com/AoiDragon/POPE",
        files="coco_pope_random.json, val2014/",
        splits=("random", "popular", "adversarial"),
        read=_read,
    ),
)
