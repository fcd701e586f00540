"""A report as one page of HTML, which needs nothing beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape

from keras_pg2.checks.texts import LINES_AND_JOINERS, printable
from keras_pg2.codecs.detections import Detections
from keras_pg2.evaluation.report import plots, selection
from keras_pg2.evaluation.report.pictures import picture_names, thumbnail
from keras_pg2.evaluation.report.selection import interval_text, number
from keras_pg2.evaluation.report.style import STYLE
from keras_pg2.evaluation.results import Evaluation, Outcome
from keras_pg2.metrics.calibration import Calibration, confidence, reliability_table
from keras_pg2.metrics.registry import METRICS
from keras_pg2.metrics.things.average_precision import (
    CocoAveragePrecision,
    Curve,
    precision_recall_curves,
)

_LONGEST_TEXT = 500
_MOST_ANSWERS = 5
_MOST_FAILURES = 30
_MOST_PICTURES = 4


def page(evaluation: Evaluation, num_examples: int, seed: int) -> str:
    """Return the page.

    Args:
        evaluation: What it shows.
        num_examples: How many of the worst, and how many by chance.
        seed: Seed of those by chance.
    """
    title = f"{evaluation.metric}: {evaluation.model} on {evaluation.data_set}"
    sections = (
        _header(evaluation),
        _figures(evaluation),
        _kinds(evaluation),
        _plots(evaluation),
        _worst(evaluation, num_examples),
        _examples(
            "Answers drawn by chance",
            evaluation,
            selection.sample(evaluation, num_examples, seed),
        ),
        _failures(evaluation),
        _settings(evaluation),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # No program, and nothing from elsewhere, whatever a label says.
        '<meta http-equiv="Content-Security-Policy" content="default-src '
        "'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{''.join(sections)}</main></body></html>\n"
    )


def _text(value: object, longest: int = _LONGEST_TEXT) -> str:
    """Return a text as HTML that shows just these characters."""
    shown = printable(value, LINES_AND_JOINERS)
    if len(shown) > longest:
        shown = f"{shown[:longest]}\u2026"
    return escape(shown)


def _section(title: str, content: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<h2>{_text(title)}</h2><section{attribute}>{content}</section>\n"


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], has_numbers: bool = True
) -> str:
    """Return a table of cells that are HTML; numbers stay in a line, texts do not."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    start = "<td class=num>" if has_numbers else "<td>"
    body = "".join(
        f"<tr><th>{first}</th>{''.join(f'{start}{cell}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    top = f"<thead><tr>{cells}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def _header(evaluation: Evaluation) -> str:
    data = " \u00b7 ".join(
        filter(
            None,
            (
                evaluation.data_set,
                evaluation.split,
                evaluation.recipe and f"recipe {evaluation.recipe}",
            ),
        )
    )
    first, *_ = selection.figure_rows(evaluation)
    metric = METRICS.get(evaluation.metric)
    tiles = [
        f"<div><small>{_text(first.name)}</small><b>{number(first.value)}</b>"
        + (
            f"<small>{selection.level_text(evaluation)} "
            f"{interval_text(first.interval)}</small>"
            if first.interval
            else ""
        )
        + (f"<small>{_text(metric.meaning)}</small>" if metric else "")
        + "</div>"
    ]
    published = evaluation.published
    if published is not None:
        value = published.figures.get(first.name)
        deviation = published.deviations.get(first.name)
        around = "" if deviation is None else f" \u00b1 {number(deviation)}"
        note = f"<small>{_text(published.note)}</small>" if published.note else ""
        tiles.append(
            f"<div><small>published: {_text(published.model)}</small>"
            f"<b>{number(value)}<small>{around}</small></b>"
            f"<small>{_text(published.source)}</small>{note}</div>"
        )
    failed = len(evaluation.failures)
    tiles.append(
        f"<div><small>examples</small><b>{len(evaluation.outcomes):,}</b><small>"
        f"{f'{failed:,} more without an answer' if failed else 'all have an answer'}"
        f", {_duration(evaluation.seconds)}</small></div>"
    )
    return (
        f'<h1>{_text(evaluation.model)}</h1><p class="soft">{_text(data)}</p>'
        f'<div class="headline">{"".join(tiles)}</div>\n'
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _figures(evaluation: Evaluation) -> str:
    rows = selection.figure_rows(evaluation)
    has_published = any(row.published is not None for row in rows)
    known = [
        value
        for row in rows
        for value in (row.value, row.published or 0, *(row.interval or ()))
        if math.isfinite(value)
    ]
    highest = max(known, default=1.0)
    highest = 1.0 if highest <= 1 else highest
    head = ["figure", "", selection.level_text(evaluation)]
    cells = []
    for row in rows:
        bar = plots.interval_bar(row.value, row.interval, row.published, highest)
        line = [_text(row.name), number(row.value), interval_text(row.interval)]
        cells.append([*line, *[number(row.published)] * has_published, bar])
    head += [*["published"] * has_published, ""]
    return _section("Figures", _table(head, cells), "card")


def _kinds(evaluation: Evaluation) -> str:
    rows = selection.kind_rows(evaluation)
    if not rows:
        return ""
    cells = [
        (_text(row.kind or "(none)"), f"{row.num_examples:,}", number(row.score))
        for row in rows
    ]
    head = ("kind", "examples", "mean score")
    return _section("By kind", _table(head, cells), "card")


def _plots(evaluation: Evaluation) -> str:
    scores = [outcome.score for outcome in evaluation.outcomes]
    found = [
        (plots.histogram(scores), "Scores of single examples."),
        (
            _reliability(evaluation),
            "Reliability: share that is right of answers of about the same "
            "probability. On the dashed line what is told is what is true; larger dots "
            "are more answers.",
        ),
        (
            plots.precision_recall(_curves(evaluation)),
            f"Precision and recall of {_matched(evaluation)} at IoU 0.5 as the least "
            "score falls.",
        ),
    ]
    figures = "".join(
        f"<figure><figcaption>{caption}</figcaption>{plot}</figure>"
        for plot, caption in found
        if plot
    )
    return _section("Plots", figures, "plots") if figures else ""


def _reliability(evaluation: Evaluation) -> str:
    """Return the diagram; "" where no answer has a probability.

    Nor is there one of scores that are no shares of what is right, as errors and CIDEr.
    """
    metric = METRICS.get(evaluation.metric)
    pairs = []
    for outcome in evaluation.outcomes:
        right = outcome.score
        if isinstance(metric, Calibration):  # Whose score is how far both are apart.
            right = metric.score(outcome.answer, outcome.truth)
        elif metric is not None and not metric.is_higher_better:
            return ""
        if not 0 <= right <= 1 and not math.isnan(right):
            return ""
        probability = confidence(outcome.answer)
        if probability is not None and not math.isnan(right):
            pairs.append((probability, right))
    if not pairs:
        return ""
    probabilities, scores = zip(*pairs)
    return plots.reliability(reliability_table(probabilities, scores))


def _matched(evaluation: Evaluation) -> str:
    metric = METRICS.get(evaluation.metric)
    return metric.kind if isinstance(metric, CocoAveragePrecision) else "boxes"


def _curves(evaluation: Evaluation) -> dict[str, Curve]:
    metric = METRICS.get(evaluation.metric)
    if not isinstance(metric, CocoAveragePrecision):
        return {}
    rows = [metric.statistics(one.answer, one.truth) for one in evaluation.outcomes]
    return precision_recall_curves(rows)


def _worst(evaluation: Evaluation, count: int) -> str:
    title = "Worst answers"
    if count and selection.are_all_right(evaluation):
        return _section(title, f'<p class="soft">{selection.ALL_RIGHT}</p>')
    return _examples(title, evaluation, selection.worst(evaluation, count))


def _examples(title: str, evaluation: Evaluation, shown: Sequence[Outcome]) -> str:
    if not shown:
        return ""
    is_higher_better = selection.is_higher_better(evaluation)
    pictures = [_pictures(outcome) for outcome in shown]
    cards = "".join(
        _card(outcome, figures, is_higher_better)
        for outcome, figures in zip(shown, pictures)
    )
    # Pictures beside each other need room; cards of two widths would leave gaps.
    is_wide = any(len(figures) > 1 for figures in pictures)
    return _section(title, cards, "examples wide" if is_wide else "examples")


def _card(outcome: Outcome, figures: Sequence[str], is_higher_better: bool) -> str:
    answers = outcome.truth.answers
    right = "\n".join(answers[:_MOST_ANSWERS])
    if len(answers) > _MOST_ANSWERS:
        right += f"\n\u2026 {len(answers) - _MOST_ANSWERS} more"
    kind = ""
    if outcome.score in (0.0, 1.0):
        kind = "right" if selection.is_right(outcome, is_higher_better) else "wrong"
    said = outcome.answer.text or _names(outcome.answer.things) or "(nothing)"
    rows = [("prompt", _text(outcome.prompt)), ("answer", _text(said))]
    if answers:
        rows.append(("truth", _text(right)))
    rows.append(("score", f'<span class="num {kind}">{number(outcome.score)}</span>'))
    try:
        probability = confidence(outcome.answer)
    except ValueError:
        probability = None
    if probability is not None:
        rows.append(("probability", f'<span class="num">{number(probability)}</span>'))
    if outcome.truth.kind:
        rows.append(("kind", _text(outcome.truth.kind)))
    rows.append(("id", _text(outcome.id)))
    lines = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    pictures = f'<div class="pictures">{"".join(figures)}</div>' if figures else ""
    return f"<article>{pictures}<dl>{lines}</dl></article>"


def _names(things: Detections | None) -> str:
    """Return the names of things, and their scores, for an answer without a text."""
    if things is None:
        return ""
    scores = [""] * len(things.labels)
    if things.scores is not None:
        scores = [f" {score:.2f}" for score in things.scores.tolist()]
    return ", ".join(f"{label}{score}" for label, score in zip(things.labels, scores))


def _pictures(outcome: Outcome) -> list[str]:
    names = picture_names(outcome)
    has_things = outcome.answer.things is not None or outcome.truth.things is not None
    drawn: list[tuple[str, Detections | None, str]]
    if len(names) == 1 and has_things:
        drawn = [(names[0], outcome.answer.things, "answer")]
        if outcome.truth.things is not None:
            drawn.append((names[0], outcome.truth.things, "truth"))
    else:
        drawn = [(name, None, "") for name in names[:_MOST_PICTURES]]
    figures = []
    # A label has the same colour in answer and truth.
    of_truth_first = outcome.truth.things, outcome.answer.things
    labels = [label for one in of_truth_first if one for label in one.labels]
    for name, things, caption in drawn:
        address = thumbnail(name, things, labels)
        below = f"<figcaption>{caption}</figcaption>" if caption else ""
        if address is None:
            figures.append(f'<div class="missing">no picture: {_text(name, 200)}</div>')
        else:
            figures.append(f'<figure><img src="{address}" alt="">{below}</figure>')
    more = len(names) - _MOST_PICTURES
    if more > 0:
        figures.append(f'<div class="missing">{more} more</div>')
    return figures


def _failures(evaluation: Evaluation) -> str:
    if not evaluation.failures:
        return ""
    rows = [
        (_text(failure.id), _text(failure.error))
        for failure in evaluation.failures[:_MOST_FAILURES]
    ]
    more = len(evaluation.failures) - len(rows)
    note = f'<p class="soft">{more:,} more in predictions.jsonl.</p>' if more else ""
    table = _table(("id", "error"), rows, has_numbers=False)
    return _section("Without an answer", table + note, "card")


def _settings(evaluation: Evaluation) -> str:
    rows = []
    for name, value in evaluation.settings.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        elif not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False, default=str)
        rows.append((_text(name), _text(value)))
    if not rows:
        return ""
    return _section("Settings", _table((), rows, has_numbers=False), "card")
