"""TextVQA: ten people's answers to questions about text in photographs.

The files are those of textvqa.org/dataset: `TextVQA_0.5.1_val.json` has "data" of
question_id, image_id, question and ten answers; the pictures of train and val are in
`train_images/`, those of test in `test_images/`. Some pictures of Open Images lie on
their side; big_vision turns them by Open Images' `rotation.csv` (`datasets/textvqa`),
here they are as they are published.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad
from keras_pg2.datasets.public.examples import DataSet, Examples
from keras_pg2.datasets.public.published_files import find_file, find_folder
from keras_pg2.datasets.public.questions.vqav2 import to_examples
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.datasets.vqa import read_textvqa


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    path = find_file(directory, f"TextVQA_0.5.1_{split}.json")
    folder = "test_images" if split == "test" else "train_images"
    file = read_textvqa(path, find_folder(directory, folder), on_bad=on_bad)
    examples = to_examples(
        file.questions, path, on_bad, is_test=split == "test", has_kinds=False
    )
    return Examples(examples, [*file.skipped, *examples.skipped], examples.sources)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "textvqa",
        title="TextVQA: questions about text in photographs",
        source="textvqa.org/dataset",
        files="TextVQA_0.5.1_val.json, train_images/",
        splits=("val", "train", "test"),
        read=_read,
    ),
)
