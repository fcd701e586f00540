"""VSR: whether a sentence about where two things are is true of a picture.

`zeroshot/test.jsonl` and `random/test.jsonl` (github.com/cambridgeltl/
visual-spatial-reasoning, data/splits) have a JSON object a line: image, caption, label
(1 for true) and relation, which is `kind`; the pictures of COCO 2017 are in `images/`.
The two are other divisions of the same sentences.

The paper of PaliGemma 2 prints no prompt for VSR: this one, and the answers True and
False, are those of NLVR2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_lines
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    division, _, part = split.partition("_")
    name = f"{division}/{part}.jsonl"
    path = find_file(directory, name, f"splits/{name}", f"data/splits/{name}")
    pictures = Pictures(directory, "images", "trainval2017", "data/images")
    problems = Problems(on_bad)
    entries: list[tuple[str, Any]] = [
        (source, {**entry, "id": index} if isinstance(entry, dict) else entry)
        for index, (source, entry) in enumerate(read_lines(path, problems))
    ]

    def read(entry: Fields) -> Example:
        return Example(
            id=entry.integer("id"),
            images=pictures.find("image", entry.value("image")),
            fields={"sentence": read_text(entry, "caption")},
            truth=Truth(
                answers=(str(bool(entry.integer("label", at_most=1))),),
                kind=entry.text("relation", ""),
            ),
        )

    return collect(entries, read, problems, path)


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="vsr",
        title="VSR: whether a sentence about positions is true of a photograph",
        source="github.com/cambridgeltl/visual-spatial-reasoning",
        files="zeroshot/test.jsonl, images/",
        splits=(
            "zeroshot_test",
            "zeroshot_dev",
            "zeroshot_train",
            "random_test",
            "random_dev",
            "random_train",
        ),
        metric="exact_match",
        prompt="answer en {sentence}",
        read=_read,
    ),
)
