"""The papers' figures of published.toml as records."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PERCENT = 100.0
FAMILIES: Mapping[str, tuple[int, str]] = {
    "pali_gemma2": (2, "[P2] table 13"),
    "pali_gemma": (1, "[P2] table 15"),
}
"""Version of the models under a key, and where their figures are from."""
PAPERS: Mapping[str, str] = {
    "[P1]": "PaliGemma, arXiv:2407.07726v2",
    "[P2]": "PaliGemma 2, arXiv:2412.03555v1",
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A row of a table: a figure of some models.

    Attributes:
        name: Name of the section.
        title: As the table has it.
        data_set: Name of what is evaluated on.
        figures: Figure and standard deviation (None if it is not told) by version,
            size and resolution, as in (2, "3b", 448), in units of our metrics: shares
            are in [0, 1].
        recipe: Name of the recipe; None where none has the task.
        split: As the title names it; "" where it names none.
        figure: Name of the figure; "" for the first of the metric.
        source: Paper and table, by version.
        note: What else one should know.
    """

    name: str
    title: str
    data_set: str
    figures: Mapping[tuple[int, str, int], tuple[float, float | None]]
    recipe: str | None = None
    split: str = ""
    figure: str = ""
    source: Mapping[int, str]
    note: str = ""


def read_reported(path: Path) -> tuple[Reported, ...]:
    """Return the sections of a TOML file, in its order.

    Raises:
        ValueError: if a section has an unknown key; names it.
    """
    tables = tomllib.loads(path.read_text("utf-8"))
    return tuple(_read(name, table) for name, table in tables.items())


def _read(name: str, table: Mapping[str, Any]) -> Reported:
    known = {field.name for field in fields(Reported)} - {"name", "figures"}
    unknown = table.keys() - known - FAMILIES.keys() - {"unit"}
    if unknown:
        raise ValueError(
            f"Expected keys of published figures in {name!r}, received "
            f"{', '.join(sorted(unknown))}."
        )
    unit = table.get("unit", PERCENT)
    figures: dict[tuple[int, str, int], tuple[float, float | None]] = {}
    for family, (version, _) in FAMILIES.items():
        for resolution, sizes in table.get(family, {}).items():
            for size, (figure, *deviation) in sizes.items():
                spread = deviation[0] / unit if deviation else None
                figures[version, size, int(resolution)] = figure / unit, spread
    given = table.get("source")
    return Reported(
        name=name,
        figures=figures,
        source={version: given or own for version, own in FAMILIES.values()},
        **{key: table[key] for key in known - {"source"} if key in table},
    )


REPORTED = read_reported(Path(__file__).with_name("published.toml"))
"""All figures, in the order of the file."""
