"""What an evaluation has found, as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_pg2.evaluation import Evaluation

_MOST_FIGURES = 20


def summary_lines(evaluation: Evaluation, skipped: Sequence[str] = ()) -> list[str]:
    """Return a table of figures, intervals and the paper's figures, and notes.

    Args:
        evaluation: What was found.
        skipped: What was wrong with entries that were left out.
    """
    of = " ".join(filter(None, [evaluation.data_set, evaluation.split]))
    count = len(evaluation.outcomes)
    lines = [f"{evaluation.model} on {of or 'examples'}: {count:,} answers"]
    if evaluation.failures or skipped:
        lines[0] += f", {len(evaluation.failures)} failed, {len(skipped)} left out"
    published = evaluation.published
    level = round(100 * evaluation.settings.get("level", 0.95))
    header = ["", "figure", f"{level} % interval"]
    if published is not None:
        header.append("paper")
    rows = [header]
    for name in list(evaluation.figures)[:_MOST_FIGURES]:
        bounds = evaluation.intervals.get(name)
        row = [
            name,
            _shown(evaluation.figures[name]),
            "" if bounds is None else f"{_shown(bounds[0])} to {_shown(bounds[1])}",
        ]
        if published is not None:
            row.append(_reported(evaluation, name))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines += [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    more = len(evaluation.figures) - _MOST_FIGURES
    if more > 0:
        lines.append(f"and {more} figures more")
    if published is not None:
        others = [
            f"{name} {_reported(evaluation, name)}"
            for name in published.figures
            if name not in evaluation.figures
        ]
        lines.append(f"paper: {published.model}. {published.source}.")
        lines += [f"  {text}" for text in [", ".join(others), published.note] if text]
    return lines


def _reported(evaluation: Evaluation, name: str) -> str:
    published = evaluation.published
    if published is None or name not in published.figures:
        return ""
    deviation = published.deviations.get(name)
    text = _shown(published.figures[name])
    return text if deviation is None else f"{text} (sd {_shown(deviation)})"


def _shown(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"
