"""A report as Markdown: figures, kinds, the worst answers, settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_pg2.checks.texts import markdown_text
from keras_pg2.evaluation.report import selection
from keras_pg2.evaluation.report.selection import interval_text, number
from keras_pg2.evaluation.results import Evaluation, Outcome

_LONGEST_TEXT = 200


def markdown(evaluation: Evaluation, num_examples: int) -> str:
    """Return the report.

    Args:
        evaluation: What it shows.
        num_examples: How many of the worst answers.
    """
    data = " ".join(filter(None, (evaluation.data_set, evaluation.split)))
    recipe = f", recipe {evaluation.recipe}" if evaluation.recipe else ""
    parts = [
        f"# {_cell(evaluation.model)}",
        f"{_cell(data + recipe)}: {len(evaluation.outcomes)} examples, "
        f"{len(evaluation.failures)} without an answer.",
        _figures(evaluation),
    ]
    published = evaluation.published
    if published is not None:
        note = f" {_cell(published.note)}" if published.note else ""
        parts.append(
            f"Published: {_cell(published.model)}, {_cell(published.source)}.{note}"
        )
    kinds = [
        (row.kind or "(none)", row.num_examples, number(row.score))
        for row in selection.kind_rows(evaluation)
    ]
    if kinds:
        parts += ["## By kind", _table(("kind", "examples", "mean score"), kinds)]
    worst = [
        (one.id, one.prompt, one.answer.text, _truths(one), number(one.score))
        for one in selection.worst(evaluation, num_examples)
    ]
    if worst:
        head = ("id", "prompt", "answer", "truth", "score")
        parts += ["## Worst answers", _table(head, worst)]
    elif num_examples and selection.are_all_right(evaluation):
        parts += ["## Worst answers", selection.ALL_RIGHT]
    if evaluation.settings:
        parts += ["## Settings", _table(("name", "value"), evaluation.settings.items())]
    return "\n\n".join(parts) + "\n"


def _truths(outcome: Outcome) -> str:
    return " / ".join(outcome.truth.answers)


def _figures(evaluation: Evaluation) -> str:
    rows = [
        (
            row.name,
            number(row.value),
            interval_text(row.interval),
            number(row.published),
        )
        for row in selection.figure_rows(evaluation)
    ]
    head = ("figure", "value", selection.level_text(evaluation), "published")
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    text = str(value).replace("\n", " ")
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}\u2026"
    return text if text == "---" else markdown_text(text)
