"""Plots as SVG inside a page, whose colors are those of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from keras_pg2.checks.texts import printable
from keras_pg2.metrics.calibration import Bin
from keras_pg2.metrics.things.average_precision import Curve

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 14, 44
NUM_COLORS = 6
"""Of lines that the page has colors for."""


class _Axes:
    """The frame of a plot, and where numbers are in it.

    Args:
        title: What the plot shows, for those who cannot see it.
        x: Lowest and highest number of the horizontal axis.
        y: The same of the vertical one.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical one.
    """

    def __init__(
        self,
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        x_label: str,
        y_label: str,
    ) -> None:
        self._x, self._y = x, y
        self.parts = [f"<title>{escape(title)}</title>"]
        bottom = _HEIGHT - _BOTTOM
        for value in np.linspace(*y, 5):
            at = self.y(value)
            self.parts += [
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
                f'y1="{at:.1f}" y2="{at:.1f}"/>',
                f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">'
                f"{_tick(value)}</text>",
            ]
        for value in np.linspace(*x, 5):
            self.parts.append(
                f'<text x="{self.x(value):.1f}" y="{bottom + 17}" '
                f'text-anchor="middle">{_tick(value)}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        self.parts += [
            f'<text class="label" x="{middle}" y="{_HEIGHT - 6}" '
            f'text-anchor="middle">{escape(x_label)}</text>',
            f'<text class="label" transform="translate(12 {(_TOP + bottom) / 2}) '
            f'rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
        ]

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        room = _HEIGHT - _TOP - _BOTTOM
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * room

    def bar(self, left: float, right: float, top: float, kind: str = "bar") -> None:
        x, width = self.x(left), self.x(right) - self.x(left)
        y, floor = self.y(top), self.y(self._y[0])
        self.parts.append(
            f'<rect class="{kind}" x="{x + 1:.1f}" y="{y:.1f}" '
            f'width="{max(width - 2, 1):.1f}" height="{max(floor - y, 0):.1f}" rx="2"/>'
        )

    def line(self, x: Sequence[float], y: Sequence[float], kind: str) -> None:
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(x, y))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def text(self) -> str:
        return (
            f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
            f"{''.join(self.parts)}</svg>"
        )


def _tick(value: float) -> str:
    """Return a number that is short: 0.25, 150, 2.5k."""
    if abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value / 1000:.3g}k" if abs(value) < 1e6 else f"{value:.0e}"


def histogram(scores: Sequence[float], num_bins: int = 20) -> str:
    """Return a histogram of scores; "" if none is a number."""
    known = np.array([score for score in scores if math.isfinite(score)])
    if not len(known):
        return ""
    low, high = float(known.min()), float(known.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    high = high if high > low else low + 1.0
    counts, edges = np.histogram(known, num_bins, (low, high))
    top = _even(int(counts.max()))
    axes = _Axes("Histogram of scores", (low, high), (0, top), "score", "examples")
    for count, left, right in zip(counts.tolist(), edges, edges[1:]):
        if count:
            axes.bar(left, right, count)
    return axes.text()


def _even(count: int) -> int:
    """Return four round steps (1, 2, 5, 10, 20 ...) that reach a count."""
    step = 1
    while 4 * step < count:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return 4 * step


def reliability(bins: Sequence[Bin]) -> str:
    """Return a reliability diagram."""
    labels = "probability told", "share that is right"
    axes = _Axes("Reliability diagram", (0, 1), (0, 1), *labels)
    most = max(each.num_answers for each in bins) or 1
    for each in bins:
        if each.num_answers:
            axes.bar(each.lower, each.upper, each.score)
    axes.line((0, 1), (0, 1), "ideal")
    for each in bins:
        if each.num_answers:
            size = 2.5 + 4 * math.sqrt(each.num_answers / most)
            x, y = axes.x(each.probability), axes.y(each.score)
            axes.parts.append(
                f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}">'
                f"<title>{each.num_answers} answers</title></circle>"
            )
    return axes.text()


def precision_recall(curves: Mapping[str, Curve]) -> str:
    """Return curves of the first labels and their legend; "" if there is none.

    Of more labels than there are colors the mean alone is drawn.
    """
    if not curves:
        return ""
    shown = dict(curves)
    if len(curves) > NUM_COLORS:
        all_curves = list(curves.values())
        precision = np.mean([curve.precision for curve in all_curves], axis=0)
        mean = Curve(all_curves[0].recall, precision)
        shown = {f"mean of {len(curves)} labels": mean}
    axes = _Axes("Precision-recall", (0, 1), (0, 1), "recall", "precision")
    legend = []
    for i, (label, curve) in enumerate(shown.items()):
        axes.line(curve.recall.tolist(), curve.precision.tolist(), f"line c{i}")
        legend.append(f'<li><i class="c{i}"></i>{escape(printable(label))}</li>')
    return f'{axes.text()}<ul class="legend">{"".join(legend)}</ul>'


def interval_bar(
    value: float,
    interval: tuple[float, float] | None,
    published: float | None,
    highest: float,
) -> str:
    """Return a figure between 0 and a highest one, its interval, the published one."""

    def at(number: float) -> float:
        return 4 + 152 * min(max(number / highest, 0), 1)

    if not math.isfinite(value) or highest <= 0:
        return ""
    parts = ['<line class="grid" x1="4" x2="156" y1="9" y2="9"/>']
    if interval is not None and all(map(math.isfinite, interval)):
        low, high = map(at, interval)
        parts.append(
            f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="9" y2="9"/>'
        )
    if published is not None and math.isfinite(published):
        x = at(published)
        parts.append(
            f'<line class="published" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="16"/>'
        )
    parts.append(f'<circle class="dot" cx="{at(value):.1f}" cy="9" r="4"/>')
    attributes = 'class="bar" viewBox="0 0 160 18" aria-hidden="true"'
    return f"<svg {attributes}>{''.join(parts)}</svg>"
