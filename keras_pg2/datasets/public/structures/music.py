"""Music on two staves, and its **kern text: GrandStaff.

`partitions_grandstaff/types/test.txt` lists files below the directory, as
`grandstaff_dataset/chopin/.../m-1-4.krn` (or `.ekrn`, `.bekrn`, whose tokens are parted
by "·" and "@"); the picture of each has its name with `.jpg`. Source: grfia.dlsi.ua.es/
sheet-music-transformer; github.com/antoniorv6/SMT.

Texts are made as there (`data.py`, `prepare_data` and `parse_kern` for "kern"): line
breaks and blanks at the ends go, the numbers of bars after "=" go, and so do "·" and
"@". The header of an extended text is **kern then, which is ours. Tabs and line breaks
stay: `ser` and `ler` count them as the source does.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.public.entries import collect
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import stream_lines
from keras_pg2.datasets.public.published_files import Pictures, find_file
from keras_pg2.datasets.text_files import decode
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import read_file
from keras_pg2.metrics.metric import Truth

_BAR_NUMBER = re.compile(r"(?<==)\d+")
_EXTENDED = re.compile(r"\*\*b?ekern(_1\.0)?")
_ENDINGS = (".krn", ".ekrn", ".bekrn")


def read_grandstaff(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return GrandStaff's systems with their **kern text."""
    path = find_file(
        directory, f"partitions_grandstaff/types/{split}.txt", f"{split}.txt"
    )
    pictures = Pictures(directory, "")

    def read(entry: Fields) -> Example:
        name = PurePosixPath(check_text(entry.value("file"), "file").strip())
        if name.suffix not in _ENDINGS:
            raise ValueError(
                f"expected a file of {', '.join(_ENDINGS)}, received {str(name)!r}."
            )
        source = Path(pictures.find("file", str(name)))
        return Example(
            id=str(name.with_suffix("")),
            images=pictures.find("file", str(name.with_suffix(".jpg"))),
            truth=Truth(answers=(kern_text(decode(read_file(source), source)),)),
        )

    lines = [
        (source, {"file": line.decode(errors="replace")})
        for source, line in stream_lines(path)
    ]
    return collect(lines, read, Problems(on_bad), path)


def kern_text(text: str) -> str:
    """Return a text of **kern, **ekern or **bekern as the model is to write it.

    Raises:
        ValueError: if it does not begin with the header of one of them.
    """
    text = text.replace("\r\n", "\n").strip("\n ")
    if not re.match(r"\*\*b?e?kern", text):
        raise ValueError(
            f"expected a text that begins with **kern, received {text[:40]!r}."
        )
    text = _EXTENDED.sub("**kern", text)
    return check_text(_BAR_NUMBER.sub("", text).translate({0xB7: "", 0x40: ""}), "text")


DATA_SETS = (
    DataSet(
        name="grandstaff",
        title="GrandStaff: music on two staves as **kern",
        source="grfia.dlsi.ua.es/sheet-music-transformer",
        files="partitions_grandstaff/types/test.txt, grandstaff_dataset/",
        splits=("test", "val", "train"),
        read=read_grandstaff,
        metric="ser",
        prompt="kern",
    ),
)
