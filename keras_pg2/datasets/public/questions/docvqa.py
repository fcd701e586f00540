"""DocVQA and InfographicVQA: questions about pages, and about large graphics.

The files are tasks 1 and 3 of rrc.cvc.uab.es/?ch=17: `val_v1.0_withQT.json` and
`infographicsVQA_val_v1.0_withQT.json` have "data" of questionId, question, answers,
data_split and the picture, as "image" (`documents/xnbl0037_1.png`) or
"image_local_name". Files of test splits have no answers. Earlier downloads have the
pages in `val/documents/`, later ones in `spdocvqa_images/`.

An answer of InfographicVQA may be several items in any order (tasks page of the
challenge). As in big_vision `datasets/infovqa`, each order of them is an answer for the
split val.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from pathlib import Path, PurePosixPath

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import (
    check_split,
    collect,
    read_answers,
    read_id,
    read_text,
)
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_JOINT = ", "
_MOST_ITEMS = 8
"""Items of an answer whose orders are all listed; 9 would have 362,880."""


def _read(
    names: tuple[str, ...],
    folders: tuple[str, ...],
    image_key: str,
    directory: Path,
    split: str,
    on_bad: OnBad,
) -> Examples:
    path = find_file(directory, *(name.format(split=split) for name in names))
    pictures = Pictures(directory, *(name.format(split=split) for name in folders))
    has_orders = image_key == "image_local_name" and split == "val"

    def read(entry: Fields) -> Example:
        check_split(entry, "data_split", split)
        answers = read_answers(entry, "answers", is_test=split == "test")
        name = read_text(entry, image_key)
        return Example(
            id=read_id(entry, "questionId"),
            images=pictures.find(image_key, name, PurePosixPath(name).name),
            fields={"question": read_text(entry, "question")},
            truth=Truth(
                answers=tuple(_in_all_orders(answers)) if has_orders else answers
            ),
        )

    return collect(read_entries(path, "data"), read, Problems(on_bad), path)


def _in_all_orders(answers: tuple[str, ...]) -> Iterator[str]:
    for answer in answers:
        items = answer.split(_JOINT)
        if len(items) <= _MOST_ITEMS:
            yield from map(_JOINT.join, permutations(items))
        else:
            yield answer


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "docvqa",
        title="DocVQA: questions about pages of documents",
        source="rrc.cvc.uab.es/?ch=17 (task 1)",
        files="val_v1.0_withQT.json, spdocvqa_images/ or val/documents/",
        splits=("val", "train", "test"),
        read=partial(
            _read,
            (
                "{split}_v1.0_withQT.json",
                "{split}_v1.0.json",
                "spdocvqa_qas/{split}_v1.0_withQT.json",
                "spdocvqa_qas/{split}_v1.0.json",
                "{split}/{split}_v1.0.json",
            ),
            ("{split}", "spdocvqa_images", "documents", ""),
            "image",
        ),
    ),
    transfer(
        "infovqa",
        title="InfographicVQA: questions about infographics",
        source="rrc.cvc.uab.es/?ch=17 (task 3)",
        files="infographicsVQA_val_v1.0_withQT.json, infographicsvqa_images/",
        splits=("val", "train", "test"),
        lower_case=True,
        read=partial(
            _read,
            (
                "infographicsVQA_{split}_v1.0_withQT.json",
                "infographicsVQA_{split}_v1.0.json",
                "infographicVQA_{split}_v1.0.json",
                "infographicsvqa_qas/infographicsVQA_{split}_v1.0_withQT.json",
                "infographicsvqa_qas/infographicsVQA_{split}_v1.0.json",
            ),
            ("infographicsvqa_images", "images", ""),
            "image_local_name",
        ),
    ),
)
