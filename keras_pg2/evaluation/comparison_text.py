"""A comparison in words: as JSON, as Markdown, and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from keras_pg2.checks.texts import markdown_text, printable
from keras_pg2.evaluation.comparison import Comparison, Pair
from keras_pg2.evaluation.records import answer_record

_LONGEST = 80
"""Characters of an answer in a table."""
_Escape: TypeAlias = Callable[[object], str]
"""Makes a text from outside one that is shown as it is."""


def comparison_record(comparison: Comparison, num_pairs: int = 10) -> dict[str, Any]:
    """Return a comparison as JSON has it; NaN is null.

    Args:
        comparison: The comparison.
        num_pairs: Most examples to list, of those that differ.
    """
    return {
        "a": comparison.a,
        "b": comparison.b,
        "data_set": comparison.data_set,
        "metric": comparison.metric,
        "is_higher_better": comparison.is_higher_better,
        "num_examples": comparison.num_examples,
        "left_out": list(comparison.left_out),
        "level": comparison.level,
        "figures": {
            one.name: {
                "a": _number(one.a),
                "b": _number(one.b),
                "difference": _number(one.difference),
                "interval": None if one.interval is None else list(one.interval),
            }
            for one in comparison.differences
        },
        "test": comparison.test or None,
        "p_value": _number(comparison.p_value),
        "better": comparison.better,
        "worse": comparison.worse,
        "equal": comparison.equal,
        "settings": {name: list(pair) for name, pair in comparison.settings.items()},
        "examples": [
            {
                "id": pair.a.id,
                "image": pair.a.image,
                "prompt": pair.a.prompt,
                "right": list(pair.a.truth.answers),
                "score_a": _number(pair.score_a),
                "score_b": _number(pair.score_b),
                "answer_a": answer_record(pair.a.answer),
                "answer_b": answer_record(pair.b.answer),
            }
            for pair in _most_different(comparison, num_pairs)
        ],
    }


def comparison_markdown(comparison: Comparison, num_pairs: int = 10) -> str:
    """Return a comparison as Markdown.

    Args:
        comparison: The comparison.
        num_pairs: Most examples to list, of those that differ.
    """
    title = f"# {markdown_text(comparison.b)} against {markdown_text(comparison.a)}\n\n"
    return title + _text(comparison, num_pairs, markdown_text)


def comparison_lines(comparison: Comparison, num_pairs: int = 10) -> str:
    """Return a comparison as lines for a terminal.

    Args:
        comparison: The comparison.
        num_pairs: Most examples to list, of those that differ.
    """
    return _text(comparison, num_pairs, printable)


def _text(comparison: Comparison, num_pairs: int, escape: _Escape) -> str:
    better = "higher" if comparison.is_higher_better else "lower"
    data = f" of {escape(comparison.data_set)}" if comparison.data_set else ""
    figures = [
        (
            escape(one.name),
            _shown(one.a),
            _shown(one.b),
            _shown(one.difference, "+"),
            _interval(one.interval),
        )
        for one in comparison.differences
    ]
    settings = [
        (escape(name), *(_cut(value, escape) for value in pair))
        for name, pair in comparison.settings.items()
    ]
    examples = [_row(pair, escape) for pair in _most_different(comparison, num_pairs)]
    parts = [
        f"{comparison.num_examples:,} examples{data}, by {escape(comparison.metric)} "
        f"({better} is better). A is {escape(comparison.a)}, B is "
        f"{escape(comparison.b)}.{_left_out(comparison)}",
        _table(
            ("figure", "A", "B", "B - A", f"{comparison.level:.0%} interval"), figures
        ),
        _verdict(comparison),
        _table(("setting", "A", "B"), settings),
        _table(
            ("example", "prompt", "right", "A", "B", "score A", "score B"), examples
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown with columns of one width; "" without rows."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    shown = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |"
        for row in shown
    )


def _most_different(comparison: Comparison, num_pairs: int) -> list[Pair]:
    apart = [pair for pair in comparison.pairs if abs(pair.difference) > 0]
    return apart[:num_pairs]


def _left_out(comparison: Comparison) -> str:
    first, second = comparison.left_out
    if not first and not second:
        return ""
    return f" Left out: {first:,} that only A has, {second:,} that only B has."


def _verdict(comparison: Comparison) -> str:
    if not comparison.test:
        return "No example has a score of its own by this metric, so none is counted."
    p_value = comparison.p_value
    shown = f"{p_value:.4f}" if p_value >= 1e-4 else f"{p_value:.1e}"
    return (
        f"B is better at {comparison.better:,} examples, worse at "
        f"{comparison.worse:,}, equal at {comparison.equal:,}. p = {shown} "
        f"({comparison.test})."
    )


def _row(pair: Pair, escape: _Escape) -> tuple[str, ...]:
    right = " / ".join(dict.fromkeys(pair.a.truth.answers))
    texts = pair.a.id, pair.a.prompt, right, pair.a.answer.text, pair.b.answer.text
    return (
        *(_cut(text, escape) for text in texts),
        _shown(pair.score_a),
        _shown(pair.score_b),
    )


def _cut(value: Any, escape: _Escape) -> str:
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _shown(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.4f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
