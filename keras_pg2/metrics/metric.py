"""What a metric is: statistics of each example, and figures of all of them.

An answer and what is true give the example's statistics, a few numbers or texts that
fit into JSON. Figures are computed from the statistics of all examples. So an
evaluation can go over batches and processes, be stopped, be drawn again for an
interval, and be compared with another example by example, whatever the metric:

    metric = metrics.get("vqav2_accuracy")
    state = metrics.State(metric)
    truth = metrics.Truth(answers=("2",) * 7 + ("3", "3", "two"), kind="number")
    state.update(["17"], [metrics.Answer("2")], [truth])
    state.merge(state_of_another_process)
    state.result()                  # {"vqav2_accuracy": 1.0, "number": 1.0}
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from keras_pg2.checks.texts import short_repr
from keras_pg2.codecs.detections import Detections

Id: TypeAlias = int | str
Statistics: TypeAlias = Mapping[str, Any]
"""Of one example, as JSON has it: numbers, texts, lists and mappings of them."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of an example.

    Attributes:
        answers: All right answers, or all reference texts, in the order of the file.
        kind: What results are split by, as "yes/no" or "human"; "" for nothing.
        things: Boxes and masks in pixels of the picture; None where they are not asked
            for.
        size: Height and width of the picture in pixels; None where nothing needs it.
        details: What one metric alone needs; its docstring says what.
    """

    answers: tuple[str, ...] = ()
    kind: str = ""
    things: Detections | None = None
    size: tuple[int, int] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise TypeError unless the answers are a tuple of texts, not a text."""
        if isinstance(self.answers, str) or not all(
            isinstance(one, str) for one in self.answers
        ):
            raise TypeError(
                "Expected answers as a tuple of texts, as ('cat', 'a cat'), received "
                f"{short_repr(self.answers)}."
            )


@dataclass(frozen=True)
class Answer:
    """What a model said of an example.

    Attributes:
        text: The answer, without prompt and end token.
        log_probability: Natural logarithm of its probability; None if not known.
        num_tokens: Number of its tokens; None if not known.
        things: Boxes in pixels of the picture with scores, and masks; None where they
            are to be read from the text.
        probability: Of being right, calibrated, in [0, 1]; None if not known.
    """

    text: str
    log_probability: float | None = None
    num_tokens: int | None = None
    things: Detections | None = None
    probability: float | None = None

    def __post_init__(self) -> None:
        """Raise TypeError unless the answer is a text."""
        if not isinstance(self.text, str):
            raise TypeError(
                f"Expected an answer as text, received {short_repr(self.text)}."
            )


class Metric(Protocol):
    """A metric; `name` is also the name of its first figure, by which it is chosen.

    Attributes:
        name: As recipes and commands call it.
        meaning: What it is, in a line.
        source: Where its definition is from.
        is_higher_better: False for errors and losses.
    """

    @property
    def name(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def is_higher_better(self) -> bool: ...

    def check(self) -> None:
        """Raise ImportError, with what to install, if a package is missing."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return the statistics of one example.

        Raises:
            ValueError: if the truth lacks what the metric needs.
        """

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], how good each answer is beside the others.

        As for figures, `is_higher_better` says which end is the good one. NaN where one
        example alone has no score.
        """

    def result(
        self, rows: Sequence[Statistics], counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the figures of all examples by name, `name` first.

        Args:
            rows: N statistics, at least one.
            counts: int[N], how often each is drawn in a bootstrap; None for once.
        """


Figures: TypeAlias = Callable[..., dict[str, float]]
"""From int[N] counts, or None, to figures by name: `Metric.result` of some rows."""


@runtime_checkable
class Prepared(Protocol):
    """A metric that reads statistics once, and draws figures of them many times."""

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return `result` of the rows as a function of counts alone."""


class PreparedMetric:
    """A metric whose figures come from what it prepares of rows."""

    @abstractmethod
    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return `result` of the rows as a function of counts alone."""

    def result(
        self, rows: Sequence[Statistics], counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the figures of all examples; see `prepare`."""
        return self.prepare(rows)(counts)


class State:
    """Statistics of the examples so far, by their ids.

    The order in which examples and states come makes no difference to the figures.

    Args:
        metric: The metric.
        rows: Statistics by id.
    """

    def __init__(
        self, metric: Metric, rows: Mapping[Id, Statistics] | None = None
    ) -> None:
        self.metric = metric
        self._rows = dict(rows or {})

    def __len__(self) -> int:
        return len(self._rows)

    def update(
        self, ids: Iterable[Id], answers: Iterable[Answer], truths: Iterable[Truth]
    ) -> None:
        """Add examples.

        Raises:
            ValueError: if an id is there already, an example lacks a truth that the
                metric needs (names the id), or there are not as many ids, answers and
                truths, where none is added.
        """
        names, said, true = list(ids), list(answers), list(truths)
        if not len(names) == len(said) == len(true):
            raise ValueError(
                "Expected an id, an answer and a truth of every example, received "
                f"{len(names)} ids, {len(said)} answers and {len(true)} truths."
            )
        for key, answer, truth in zip(names, said, true, strict=True):
            try:
                row = self.metric.statistics(answer, truth)
            except ValueError as error:
                raise ValueError(f"Example {key!r}: {error}") from error
            self._add(key, row)

    def merge(self, other: State) -> None:
        """Add the examples of another state of the same metric.

        Raises:
            ValueError: if its metric is another one, or both have an id.
        """
        if other.metric.name != self.metric.name:
            raise ValueError(
                f"Expected a state of {self.metric.name}, received one of "
                f"{other.metric.name}."
            )
        for key, row in other._rows.items():
            self._add(key, row)

    def _add(self, key: Id, row: Statistics) -> None:
        if key in self._rows:
            raise ValueError(
                f"Expected every example once, received {key!r} twice. Give examples "
                "ids of their own."
            )
        self._rows[key] = row

    @property
    def rows(self) -> dict[Id, Statistics]:
        """Statistics by id, in an order that depends on the ids alone."""
        return {key: self._rows[key] for key in sorted(self._rows, key=repr)}

    def result(self) -> dict[str, float]:
        """Return the figures by name, the metric's own first.

        Raises:
            ValueError: if there is no example.
        """
        if not self._rows:
            raise ValueError(
                f"Expected at least one example for {self.metric.name}, received none."
            )
        return self.metric.result(list(self.rows.values()))


@dataclass(frozen=True, kw_only=True)
class MeanMetric(PreparedMetric):
    """A metric whose figures are means of examples' scores, over all and by kind.

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        source: As for `Metric`.
        score: Returns the score of an example.
        is_higher_better: As for `Metric`.
    """

    name: str
    meaning: str
    source: str
    score: Callable[[Answer, Truth], float]
    is_higher_better: bool = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return score and kind of an example."""
        return {"score": float(self.score(answer, truth)), "kind": truth.kind}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N] scores."""
        return column(rows, "score")

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to the mean, and that of each kind."""
        scores, kinds = self.scores(rows), Kinds(row["kind"] for row in rows)
        return lambda counts=None: with_kinds(
            {self.name: mean(scores, counts)}, kinds.means(scores, counts)
        )


@dataclass(frozen=True, kw_only=True)
class MeanOfKinds(MeanMetric):
    """A metric whose own figure is the mean of the kinds' means; `overall` is of all.

    Attributes:
        parts: Further figures by name: the mean over some kinds, where they are there.
    """

    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to the means."""
        means = super().prepare(rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            of_kinds = means(counts)
            overall = of_kinds.pop(self.name)
            own = _mean_of_numbers(of_kinds.values()) if of_kinds else overall
            of_parts = {
                name: _mean_of_numbers(of_kinds[kind] for kind in kinds)
                for name, chosen in self.parts.items()
                if (kinds := [kind for kind in chosen if kind in of_kinds])
            }
            first = {self.name: own, "overall": overall} | of_parts
            return with_kinds(first, of_kinds)

        return figures


class Kinds:
    """What kind each of N examples is of."""

    def __init__(self, kinds: Iterable[str]) -> None:
        each = list(kinds)
        self.names = sorted(set(each) - {""})
        # Those of no kind come last.
        index_of = {name: index for index, name in enumerate([*self.names, ""])}
        self._index = np.array([index_of[kind] for kind in each], int)

    def means(
        self, scores: np.ndarray, counts: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the mean of float64[N] scores of each kind, in alphabetical order.

        Args:
            scores: Scores of the examples.
            counts: int[N], how often each counts; None for once. A kind that none is of
                has NaN.
        """
        drawn, num = weights(counts, len(scores)), len(self.names) + 1
        totals = np.bincount(self._index, drawn, num)
        sums = np.bincount(self._index, drawn * scores, num)
        return {
            name: float(sums[i] / totals[i]) if totals[i] else float("nan")
            for i, name in enumerate(self.names)
        }


def with_kinds(
    figures: Mapping[str, float], of_kinds: Mapping[str, float]
) -> dict[str, float]:
    """Return figures, and then those of kinds by the kinds' names.

    A kind whose name is that of a figure is called kind/NAME.
    """
    named = {
        f"kind/{kind}" if kind in figures else kind: figure
        for kind, figure in of_kinds.items()
    }
    return {**figures, **named}


def _mean_of_numbers(values: Iterable[float]) -> float:
    """Return the mean of those that are not NaN; NaN if none is a number."""
    numbers = [value for value in values if value == value]
    return float(np.mean(numbers)) if numbers else float("nan")


def mean(scores: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Return the mean of float64[N] scores, each counted int[N] times; NaN of none."""
    if counts is None:
        return float(np.mean(scores)) if len(scores) else float("nan")
    total = float(np.sum(counts))
    return float(np.dot(scores, counts)) / total if total else float("nan")


def column(rows: Sequence[Statistics], key: str) -> np.ndarray:
    """Return float64[N], a statistic of each example."""
    return np.array([row[key] for row in rows], np.float64)


def weights(counts: np.ndarray | None, num_rows: int) -> np.ndarray:
    """Return float64[N], how often each example counts."""
    return np.ones(num_rows) if counts is None else np.asarray(counts, np.float64)
