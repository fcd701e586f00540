"""GriTS: similarity of tables as grids of cells, by the package `grits-metric`.

Source: Smock et al. 2022, arXiv:2203.12555. GriTS-Top compares the spans of cells,
GriTS-Con their texts, GriTS-Loc their boxes: each the F1 score of the most similar
rows and columns that both tables have. The mean over tables is what papers report; over
all cells of a data set it is another figure, `NAME_over_cells`. The program of the
paper's authors (github.com/microsoft/table-transformer, `src/grits.py`) divides by the
smallest rectangle around two spans where the paper and the package take their union.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    weights,
    with_kinds,
)
from keras_pg2.metrics.structured.html_tables import (
    cell_boxes,
    check_packages,
    read_table,
    read_true_table,
)

MOST_CELLS = 2_000
"""Cells of an answer's grid: time and memory grow by the product of both grids."""
_ADVICE = (
    "Run: pip install 'keras-pg2[evaluation,tables]'. GriTS needs the package pylcs, "
    "which is built with a compiler of C++."
)
_NO_BOX = (-2, -2, -1, -1)
"""For cells without a box, which agree with each other and with no box."""
_DIGITS = re.compile(r"\s*\+?([0-9]+)")


def read_cells(table: Any) -> list[Any]:
    """Return the cells of a table as the package has them, with boxes."""
    from grits.conversion import html_to_cell_list
    from lxml import html

    cells = html_to_cell_list(html.tostring(table, encoding="unicode", with_tail=False))
    # Both go through the cells in the order of the text.
    return [
        replace(cell, bbox=list(box or _NO_BOX))
        for cell, box in zip(cells, cell_boxes(table), strict=True)
    ]


def num_grid_cells(cells: Sequence[Any]) -> int:
    """Return rows by columns of the grid that cells fill."""
    rows = max((cell.row_nums[-1] + 1 for cell in cells), default=0)
    columns = max((cell.column_nums[-1] + 1 for cell in cells), default=0)
    return int(rows * columns)


def _spanned(table: Any) -> int:
    """Return how many places of a grid the cells of a table take, as written."""
    total = 0
    for cell in table.iter("td", "th"):
        place = 1
        for name in ("colspan", "rowspan"):
            digits = _DIGITS.match(cell.get(name, ""))
            # More digits than any table has rows.
            place *= max(int(digits.group(1)[:7]), 1) if digits else 1
        total += place
    return total


@dataclass(frozen=True, kw_only=True)
class Grits(PreparedMetric):
    """Mean GriTS of tables; 0 for an answer without a table.

    So are answers whose grid has more cells than `MOST_CELLS` and twice the truth's.
    GriTS-Loc is told where cells of truths have boxes; a cell without one is right
    where the truth's has none either.

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        parts: What is compared, "top", "con" or "loc", the metric's own first.
    """

    name: str
    meaning: str
    parts: tuple[str, ...]
    source: str = "arXiv:2203.12555, package `grits-metric`"
    is_higher_better: bool = True

    def check(self) -> None:
        """Raise ImportError if lxml or grits-metric is not installed."""
        check_packages("grits", advice=_ADVICE)

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the sum of similarities of cells, and the number of cells.

        Raises:
            ValueError: if the truth is not one table as HTML.
        """
        table = read_true_table(truth)
        there = read_cells(table)
        most = max(MOST_CELLS, 2 * num_grid_cells(there))
        found = read_table(answer.text)
        given: list[Any] = []
        is_valid = found is not None and _spanned(found) <= most
        if is_valid:
            given = read_cells(found)
            is_valid = num_grid_cells(given) <= most
        given = given if is_valid else []
        has_boxes = any(tuple(cell.bbox) != _NO_BOX for cell in there)
        return {
            **{
                part: _similarity(part, there, given)
                if part != "loc" or has_boxes
                else None
                for part in self.parts
            },
            "num_truths": num_grid_cells(there),
            "num_found": num_grid_cells(given),
            "is_valid": is_valid,
            "kind": truth.kind,
        }

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the similarity of each table."""
        return self._scores(rows, self.parts[0])

    def _scores(self, rows: Sequence[Statistics], part: str) -> np.ndarray:
        return np.array(
            [
                _f1(row[part], row["num_truths"], row["num_found"])
                if row["is_valid"]
                else 0.0
                for row in rows
            ]
        )

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to means over tables.

        "valid" is the share of answers that are tables. Then come the figures over all
        cells, and the mean of each kind.
        """
        # Of each part: which tables have it, their scores, and their sums.
        columns = {}
        for part in self.parts:
            own = [i for i, row in enumerate(rows) if row[part] is not None]
            chosen = [rows[i] for i in own]
            keys = (part, "num_truths", "num_found")
            sums = np.stack([column(chosen, key) for key in keys])
            if own:
                columns[part] = own, self._scores(chosen, part), sums
        scores, is_valid = self.scores(rows), column(rows, "is_valid")
        kinds = Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            drawn = weights(counts, len(rows))
            means, over_cells = {}, {}
            for part, (own, part_scores, sums) in columns.items():
                means[f"grits_{part}"] = mean(part_scores, drawn[own])
                over_cells[f"grits_{part}_over_cells"] = _f1(*(sums @ drawn[own]))
            first = {**means, "valid": mean(is_valid, counts), **over_cells}
            return with_kinds(first, kinds.means(scores, counts))

        return figures


def _similarity(part: str, there: list[Any], given: list[Any]) -> float:
    """Return the sum of the similarities of cells."""
    from grits import conversion, grits

    to_grid = getattr(conversion, f"cell_list_to_grid_{part}")
    match = getattr(grits, f"grits_{part}_matching")
    grids: list[Any] = [_filled(to_grid(cells), part) for cells in (there, given)]
    if not all(grid[0] for grid in grids):
        return 0.0
    return float(match(*grids).true_positive_score)


def _filled(grid: list[list[Any]], part: str) -> list[list[Any]]:
    """Return a grid where places that no cell takes have no box."""
    if part != "loc":
        return grid
    return [[box if any(box) else list(_NO_BOX) for box in row] for row in grid]


def _f1(similarity: float, num_truths: float, num_found: float) -> float:
    """Return the F1 score; 1 where both tables have no cell."""
    total = num_truths + num_found
    return float(2 * similarity / total) if total else 1.0


METRICS = (
    Grits(
        name="grits_con",
        meaning="mean similarity of tables' grids by the texts of cells",
        parts=("con", "top", "loc"),
    ),
    Grits(
        name="grits_top",
        meaning="mean similarity of tables' grids by the spans of cells",
        parts=("top",),
    ),
)
