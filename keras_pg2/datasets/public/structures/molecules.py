"""Drawings of molecules, and their SMILES.

A table, `.csv` with commas or `.tsv` with tabs, has a column SMILES, and the picture in
file_path (below the directory), or image_id, the name of `<image_id>.png` in the folder
of the table's name. So are the sets that MolScribe is measured on, `synthetic/
chemdraw.csv` and `real/acs.csv` (github.com/thomas0809/MolScribe, README.md and
`evaluate.py`; PaliGemma 2's is the first, arXiv:2412.03555 section 4.5), and tables of
one's own, `test.csv`.
"""

from __future__ import annotations

from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import read_csv
from keras_pg2.datasets.public.published_files import Pictures, find_file
from keras_pg2.files.json_fields import Fields
from keras_pg2.metrics.metric import Truth

_SETS = ("chemdraw", "indigo", "acs", "CLEF", "UOB", "USPTO", "staker")


def read_molecules(directory: Path, split: str, on_bad: OnBad = "raise") -> Examples:
    """Return drawings of molecules with their SMILES."""
    names = [f"{folder}{split}" for folder in ("synthetic/", "real/", "")]
    path = find_file(
        directory, *[f"{n}{end}" for n in names for end in (".csv", ".tsv")]
    )
    delimiter = "\t" if path.suffix == ".tsv" else ","
    folder = path.with_suffix("").relative_to(directory)
    pictures = Pictures(
        directory, "", str(folder), str(path.parent.relative_to(directory))
    )

    def read(entry: Fields) -> Example:
        name = "file_path" if "file_path" in entry else "image_id"
        value = read_text(entry, name)
        names = (value,) if name == "file_path" else (f"{value}.png", value)
        return Example(
            id=read_text(entry, "image_id") if "image_id" in entry else value,
            images=pictures.find(name, *names),
            truth=Truth(answers=(read_text(entry, "SMILES"),)),
        )

    rows = read_csv(path, "SMILES", delimiter=delimiter)
    return collect(rows, read, Problems(on_bad), path)


DATA_SETS = (
    DataSet(
        name="molecules",
        title="Drawings of molecules and their SMILES",
        source="github.com/thomas0809/MolScribe",
        files="synthetic/chemdraw.csv, synthetic/chemdraw/",
        splits=(*_SETS, "test", "valid", "train"),
        read=read_molecules,
        metric="smiles_exact_match",
        prompt="smiles",
    ),
)
