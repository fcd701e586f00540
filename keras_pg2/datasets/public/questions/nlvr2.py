"""NLVR2 and MaRVL: whether a sentence is true of two pictures.

`test1.json` (github.com/lil-lab/nlvr, nlvr2/data) has a JSON object a line: sentence,
label ("True" or "False") and identifier, as `test1-0-1-0`; its pictures are
`test1-0-1-img0.png`, the left one, and `test1-0-1-img1.png`. Those of train lie in
folders by the number under "directory".

`marvl-sw.jsonl` (github.com/marvl-challenge/marvl-code, data/ and the images of its
Dataverse page) has caption, label (true or false), concept, left_img, right_img and id
in five languages; its pictures are `sw/images/<concept>/<left_img>`. The papers' figure
is the mean over them.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    check_split,
    collect,
    read_id,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_lines
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_LABELS = ("True", "False")


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, f"{split}.json", f"data/{split}.json")
    pictures = Pictures(directory, f"images/{split}", split, "images", "")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        name = read_text(entry, "identifier")
        if not name.startswith(f"{split}-"):
            raise ValueError(
                f"expected an identifier that begins with {split}-, received {name}. "
                "Is it the file of another split?"
            )
        pair = name.rpartition("-")[0]
        folder = entry.integer("directory", None)
        folders = ["", "" if folder is None else f"{folder}/"]

        def find(side: str) -> str:
            names = [f"{folder}{pair}-{side}.png" for folder in folders]
            return pictures.find("identifier", *dict.fromkeys(names))

        return Example(
            id=name,
            images=(find("img0"), find("img1")),
            fields={"sentence": read_text(entry, "sentence")},
            truth=Truth(answers=(entry.text("label", choices=_LABELS),)),
        )

    return collect(read_lines(path, problems), read, problems, path)


def _read_marvl(directory: Path, split: str, on_bad: OnBad) -> Examples:
    name = f"marvl-{split}.jsonl"
    path = find_file(
        directory, name, f"zero_shot/annotations/{name}", f"annotations/{name}"
    )
    pictures = Pictures(directory, f"{split}/images", f"images/{split}/images")
    problems = Problems(on_bad)

    def read(entry: Fields) -> Example:
        check_split(entry, "language", split)
        concept = read_text(entry, "concept")

        def find(key: str) -> str:
            return pictures.find(key, f"{concept}/{read_text(entry, key)}")

        return Example(
            id=read_id(entry, "id"),
            images=(find("left_img"), find("right_img")),
            fields={"sentence": read_text(entry, "caption")},
            truth=Truth(answers=(str(entry.flag("label")),)),
        )

    return collect(read_lines(path, problems), read, problems, path)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "nlvr2",
        title="NLVR2: whether a sentence is true of two photographs",
        source="github.com/lil-lab/nlvr (nlvr2)",
        files="test1.json, images/test1/",
        splits=("test1", "dev", "train", "test2"),
        read=_read,
    ),
    transfer(
        "nlvr2",
        name="marvl",
        title="MaRVL: whether a sentence is true of two photographs, in five languages",
        source="github.com/marvl-challenge/marvl-code",
        files="marvl-id.jsonl, id/images/",
        splits=("id", "sw", "ta", "tr", "zh"),
        read=_read_marvl,
    ),
)
