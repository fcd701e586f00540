"""Several evaluations of the same examples in one table, as of a model's exports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_pg2.checks.texts import markdown_text
from keras_pg2.evaluation.results import Evaluation


def side_by_side(evaluations: Sequence[Evaluation]) -> str:
    """Return a Markdown table: a row for each figure, a column for each evaluation.

    The last rows are the number of answers, how many of them are letter by letter
    those of the first evaluation, and seconds.

    Args:
        evaluations: At least one, all of the same examples.

    Raises:
        ValueError: if there is none, or they are of other examples or another metric.
    """
    if not evaluations:
        raise ValueError("Expected evaluations to show side by side, received none.")
    first, *others = evaluations
    texts = _texts(first)
    for other in others:
        if other.metric != first.metric or _texts(other).keys() != texts.keys():
            raise ValueError(
                f"Expected evaluations of the same examples by {first.metric}, "
                f"received one of {other.model} by {other.metric}, with "
                f"{len(_texts(other).keys() & texts.keys())} of {len(texts)} examples."
            )
    rows = [["", *(markdown_text(one.model) for one in evaluations)]]
    rows.append(["---"] * len(rows[0]))
    for name in dict.fromkeys(name for one in evaluations for name in one.figures):
        rows.append([markdown_text(name), *(_cell(one, name) for one in evaluations)])
    rows.append(["answers", *(str(len(one.outcomes)) for one in evaluations)])
    same = [
        sum(texts[key] == text for key, text in _texts(one).items())
        for one in evaluations
    ]
    rows.append([f"same as {markdown_text(first.model)}", *map(str, same)])
    rows.append(["seconds", *(f"{one.seconds:.0f}" for one in evaluations)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _texts(evaluation: Evaluation) -> dict[str, str]:
    return {str(one.id): one.answer.text for one in evaluation.outcomes}


def _cell(evaluation: Evaluation, name: str) -> str:
    value = evaluation.figures.get(name, math.nan)
    return "none" if math.isnan(value) else f"{value:.4f}"
