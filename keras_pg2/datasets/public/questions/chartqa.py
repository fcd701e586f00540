"""ChartQA: questions about charts, written by people and made of summaries.

"ChartQA Dataset" (github.com/vis-nlp/ChartQA) has for each split `test/test_human.json`
and `test/test_augmented.json`, lists of imgname, query and label, and the charts in
`test/png/`. `kind` is "human" or "augmented", which the papers report apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import check_answers, collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.published_files import Pictures, find_file, read_entries
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_KINDS = ("human", "augmented")
_ROOTS = ("", "ChartQA Dataset/")


def _read(directory: Path, split: str, on_bad: OnBad) -> Examples:
    pictures = Pictures(directory, *(f"{root}{split}/png" for root in _ROOTS))
    entries: list[tuple[str, Any]] = []
    for kind in _KINDS:
        names = [f"{root}{split}/{split}_{kind}.json" for root in _ROOTS]
        path = find_file(directory, *names)
        for index, (source, entry) in enumerate(read_entries(path)):
            known = {"kind": kind, "id": f"{kind}_{index}"}
            entry = {**entry, **known} if isinstance(entry, dict) else entry
            entries.append((source, entry))

    def read(entry: Fields) -> Example:
        return Example(
            id=entry.text("id"),
            images=pictures.find("imgname", entry.value("imgname")),
            fields={"question": read_text(entry, "query")},
            truth=Truth(
                answers=check_answers([entry.text("label")], "label"),
                kind=entry.text("kind"),
            ),
        )

    return collect(entries, read, Problems(on_bad), directory)


DATA_SETS: tuple[DataSet, ...] = (
    transfer(
        "chartqa",
        title="ChartQA: questions about charts",
        source="github.com/vis-nlp/ChartQA",
        files="test/test_human.json, test/test_augmented.json, test/png/",
        splits=("test", "val", "train"),
        read=_read,
    ),
)
