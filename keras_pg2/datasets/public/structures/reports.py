"""Chest X-rays with their reports: MIMIC-CXR.

`mimic-cxr-2.0.0-split.csv` (or .gz) has dicom_id, study_id, subject_id and split
("train", "validate", "test"); `mimic-cxr-2.0.0-metadata.csv`, where it is there, the
ViewPosition of each picture. A report is `files/p10/p10000032/s50414267.txt`, its
pictures `files/p10/p10000032/s50414267/<dicom_id>.jpg`. Sources: physionet.org/content/
mimic-cxr, /mimic-cxr-jpg.

A section begins at a line as " FINDINGS: ..." (MIT-LCP/mimic-cxr
`txt/section_parser.py`, which has many more names; here the name has the word). The
response is the findings and the impression as `FINDINGS: ... IMPRESSION: ...`, with
single blanks, or the one of them alone without its name. The indication (a section with
"indication" in its name, otherwise "history", otherwise "reason for exam") is a field
for the prompt, as PaliGemma 2 has it (arXiv:2412.03555 section 4.8): "not given" where
there is none. Its authors also had references to earlier studies removed by another
model, which is not public.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from keras_pg2.datasets.checks import OnBad, Problems, check_text
from keras_pg2.datasets.public.captions.grouping import check_split, of_split
from keras_pg2.datasets.public.entries import collect, read_text
from keras_pg2.datasets.public.examples import DataSet, Example, Examples
from keras_pg2.datasets.public.packed_files import read_csv
from keras_pg2.datasets.public.published_files import Pictures, find_file
from keras_pg2.datasets.text_files import decode
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.json_files import read_file
from keras_pg2.metrics.metric import Truth

_SECTION = re.compile(r"^ {0,3}([A-Z][A-Z ()/,-]+):[ \t]*", re.MULTILINE)
_SPLITS = ("test", "validate", "train")
_INDICATIONS = ("indication", "history", "reason for exam")
SECTIONS = ("findings", "impression")
"""Sections that a response can have, in their order."""


def read_mimic_cxr(
    directory: Path,
    split: str,
    on_bad: OnBad = "raise",
    sections: Sequence[str] = SECTIONS,
    views: Sequence[str] = (),
) -> Examples:
    """Return MIMIC-CXR's pictures with their reports.

    Reports that lack one of the sections are left out and listed in `skipped`.

    Args:
        directory: Directory of the data set.
        split: Name of the split.
        on_bad: As for all readers.
        sections: Sections of the response, of `SECTIONS`.
        views: Values of ViewPosition to take, as ("AP", "PA"); none for all.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as all readers; and ValueError
            if a section is unknown or there is none.
    """
    asked = [name for name in SECTIONS if name in sections]
    if not asked or set(sections) - set(SECTIONS):
        raise ValueError(
            f"Expected sections of {', '.join(SECTIONS)}, received {list(sections)}."
        )
    path = _find_table(directory, "split")
    rows = read_csv(path, "dicom_id", "study_id", "subject_id", "split")
    if views:
        metadata = _find_table(directory, "metadata")
        view_of = {
            row["dicom_id"]: row["ViewPosition"]
            for _, row in read_csv(metadata, "dicom_id", "ViewPosition")
        }
        rows = [row for row in rows if view_of.get(row[1]["dicom_id"]) in views]
    pictures = Pictures(directory, "", "mimic-cxr-jpg", "mimic-cxr-reports")
    problems = Problems(on_bad)
    lacking = []
    read_sections = lru_cache(maxsize=16)(_read_sections)  # Of all views of a study.
    entries = []
    for source, row in of_split(rows, [split], _SPLITS, path):
        with problems.of(source):
            entry = Fields(row, "the row")
            check_split(entry, _SPLITS)
            study = _study(entry)
            found = read_sections(pictures.find("study_id", f"{study}.txt"))
            missing = [name for name in asked if not found.get(name)]
            if missing:
                lacking.append(
                    f"{source}: the report has no {' and no '.join(missing)}."
                )
            else:
                entries.append((source, row))

    def read(entry: Fields) -> Example:
        study, dicom = _study(entry), read_text(entry, "dicom_id")
        found = read_sections(pictures.find("study_id", f"{study}.txt"))
        texts = [found[name] for name in asked]
        if len(asked) > 1:
            texts = [f"{name.upper()}: {found[name]}" for name in asked]
        return Example(
            id=dicom,
            images=pictures.find("dicom_id", f"{study}/{dicom}.jpg"),
            truth=Truth(answers=(check_text(" ".join(texts), "report"),)),
            fields={"indication": found.get("indication") or "not given"},
        )

    problems.messages += lacking
    return collect(entries, read, problems, path)


def _find_table(directory: Path, name: str) -> Path:
    name = f"mimic-cxr-2.0.0-{name}.csv"
    return find_file(
        directory,
        name,
        f"{name}.gz",
        f"mimic-cxr-jpg/{name}",
        f"mimic-cxr-jpg/{name}.gz",
    )


def _study(entry: Fields) -> str:
    """Return the path of a study, without the ending of its report."""
    subject, study = read_text(entry, "subject_id"), read_text(entry, "study_id")
    return f"files/p{subject[:2]}/p{subject}/s{study}"


def _read_sections(path: str) -> dict[str, str]:
    """Return findings, impression and indication of a report, as far as there are."""
    text = decode(read_file(Path(path)), path)
    starts = list(_SECTION.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    found: dict[str, str] = {}
    indications: dict[str, str] = {}
    for match, end in zip(starts, ends):
        name = match[1].strip().lower()
        words = " ".join(text[match.end() : end].split())
        for section in SECTIONS:
            if section in name and words:
                found.setdefault(section, words)
        for word in _INDICATIONS:
            if word in name and words:
                indications.setdefault(word, words)
    for word in _INDICATIONS:
        if word in indications:
            return {**found, "indication": indications[word]}
    return found


DATA_SETS = (
    DataSet(
        name="mimic_cxr",
        title="MIMIC-CXR: chest X-rays with reports",
        source="physionet.org/content/mimic-cxr-jpg",
        files="mimic-cxr-2.0.0-split.csv, files/",
        splits=_SPLITS,
        read=read_mimic_cxr,
        metric="cider",
        prompt="report {indication}",
    ),
)
