"""ST-VQA: questions about text in photographs of seven collections.

The files are task 3 of rrc.cvc.uab.es/?ch=11: `train_task_3.json` has "data" of
question_id, question, answers and file_path, as `coco-text/COCO_train2014_...jpg`, with
pictures in `train_images/`; those of `test_task_3.json`, without answers, are in
`test_task3_images/`. big_vision takes COCO's pictures from `train2014/`, where they are
larger (`datasets/stvqa`); so does this reader if that folder is there.

The publisher has no validation split. The papers' "val" is big_vision's own tenth of
the training pictures, whose list is not published; `--eval-share` splits by pictures.
"""

from __future__ import annotations

from pathlib import Path

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

_FOLDERS = {
    "train": ("train_images", "train_imgs", "train", ""),
    "test": ("test_task3_images", "test_task3_imgs", "test", ""),
}
_COCO = "coco-text/"


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, f"{split}_task_3.json")
    pictures = Pictures(directory, *_FOLDERS[split])
    has_large = (directory / "train2014").is_dir()
    large = Pictures(directory, "train2014") if has_large else pictures

    def read(entry: Fields) -> Example:
        check_split(entry, "set_name", split)
        name = read_text(entry, "file_path")
        is_of_coco = name.startswith(_COCO) and has_large
        return Example(
            id=read_id(entry, "question_id"),
            images=large.find("file_path", name.removeprefix(_COCO))
            if is_of_coco
            else pictures.find("file_path", name),
            fields={"question": read_text(entry, "question")},
            truth=Truth(
                answers=read_answers(entry, "answers", is_test=split == "test")
            ),
        )

    return collect(read_entries(path, "data"), read, Problems(on_bad), path)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "stvqa",
        title="ST-VQA: questions about text in photographs",
        source="rrc.cvc.uab.es/?ch=11 (task 3)",
        files="train_task_3.json, train_images/",
        splits=("train", "test"),
        lower_case=True,
        read=_read,
    ),
)
