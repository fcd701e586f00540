"""All public data sets by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pg2.checks.names import find_by_name
from keras_pg2.datasets.checks import OnBad
from keras_pg2.datasets.public import pictures
from keras_pg2.datasets.public.examples import DataSet, Examples
from keras_pg2.datasets.public.questions import families as questions

FAMILIES: tuple[tuple[DataSet, ...], ...] = (
    *questions.FAMILIES,
    *pictures.FAMILIES,
)
"""Each family's module has its own under `DATA_SETS`."""

DATA_SETS: Mapping[str, DataSet] = {
    data_set.name: data_set for family in FAMILIES for data_set in family
}


def find(name: str) -> DataSet:
    """Return a data set by name.

    Raises:
        ValueError: if there is none of the name; says which is near.
    """
    return find_by_name(DATA_SETS, name, "a public data set")


def read(
    name: str,
    directory: str | Path,
    split: str | None = None,
    *,
    on_bad: OnBad = "raise",
    **options: Any,
) -> Examples:
    """Return the examples of a split.

    Args:
        name: Name of the data set.
        directory: Directory that has its files, as its publisher names them.
        split: Name of the split; None for the one to evaluate on.
        on_bad: "skip" leaves entries that cannot be used out and lists them in
            `skipped` of the result.
        options: What this reader alone takes.

    Raises:
        FileNotFoundError, PermissionError: if a file or picture is missing or not
            readable.
        ValueError: if name or split is unknown, an entry is invalid, or none is left;
            names file and entry.
    """
    found = find(name)
    chosen = found.splits[0] if split is None else split
    if chosen not in found.splits:
        raise ValueError(
            f"Expected a split of {name} ({', '.join(found.splits)}), received "
            f"{chosen!r}."
        )
    return found.read(Path(directory).expanduser(), chosen, on_bad, **options)
