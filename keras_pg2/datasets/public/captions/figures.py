"""Captions of figures of papers: SciCap.

`List-of-Files-for-Each-Experiments/First-Sentence/No-Subfig/<split>/file_idx.json`
lists pictures without subfigures. Each is in `SciCap-No-Subfig-Img/<split>`, and its
caption in `SciCap-Caption-All/<split>/<name>.json` in several forms. The papers take
"caption" under "1-lowercase-and-token-and-remove-figure-index": lower case, blanks
between tokens, without "Figure 2:". Sources: github.com/tingyaohsu/SciCap; big_vision
`datasets/scicap/scicap.py`, `transfers/scicap.py`.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.checks.texts import shown
from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.public.captions.grouping import captioned
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.datasets.public.published_files import (
    Pictures,
    find_file,
    read_content,
    read_entries,
)
from keras_pg2.datasets.public.transfers import transfer
from keras_pg2.files.json_fields import Fields

_FORM = "1-lowercase-and-token-and-remove-figure-index"
_LISTS = "List-of-Files-for-Each-Experiments/First-Sentence/No-Subfig"


def read_scicap(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return SciCap's figures without subfigures, each with its caption."""
    path = find_file(directory, f"{_LISTS}/{split}/file_idx.json")
    pictures = Pictures(directory, f"SciCap-No-Subfig-Img/{split}")
    captions = directory / "SciCap-Caption-All" / split

    def read(entry: Fields) -> Example:
        name = check_text(entry.value("name"), "name")
        stem = Path(name).name.removesuffix(".png")
        source = captions / f"{stem}.json"
        content = read_content(source)
        if not isinstance(content, dict):
            raise ValueError(
                f"expected an object in {source}, received {shown(content)}."
            )
        form = Fields(content, source).fields(_FORM)
        return captioned(
            id=stem,
            images=pictures.find("name", name),
            captions=[read_text(form, "caption")],
        )

    entries = [(source, {"name": name}) for source, name in read_entries(path)]
    return collect(entries, read, Problems(on_bad), path)


DATA_SETS = (
    transfer(
        "scicap",
        title="SciCap: first sentences of captions of figures without subfigures",
        source="github.com/tingyaohsu/SciCap",
        files="List-of-Files-for-Each-Experiments/, SciCap-Caption-All/, "
        "SciCap-No-Subfig-Img/",
        splits=("test", "val", "train"),
        read=read_scicap,
        lower_case=True,
    ),
)
