"""What an evaluation has found: each example's outcome, and figures of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_pg2.metrics.metric import Answer, Id, Truth


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One example, what the model said of it, and how good that is.

    Attributes:
        id: Name of the example in its data set.
        image: Path or address of its picture, of several all of them; None where a
            picture has none, or there is no picture.
        prompt: What the model was asked.
        answer: What it said.
        truth: What is true.
        score: How good the answer is, by `Metric.scores`; NaN where one example alone
            has no score.
    """

    id: Id
    image: str | tuple[str, ...] | None
    prompt: str
    answer: Answer
    truth: Truth
    score: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An example without an answer, which no figure counts.

    Attributes:
        id: Name of the example in its data set.
        image: As for `Outcome`.
        error: What was wrong, mostly with its picture.
    """

    id: Id
    image: str | tuple[str, ...] | None
    error: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper reports of a task, to be shown beside what was measured.

    Attributes:
        model: Model and resolution, as "PaliGemma 2 3B, 448 px".
        figures: Figures by the names that the metric gives them, in its units: a share
            is in [0, 1] and CIDEr is 1.0 where the papers print 100.
        deviations: Standard deviation of each over the paper's runs, where it is told.
        source: Paper and table.
        note: Where the measured figure's data or setting differ from the paper's, or
            cannot be told; "" where they are the same.
    """

    model: str
    figures: Mapping[str, float]
    source: str
    deviations: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good a model is on a data set.

    Attributes:
        model: Name, directory or file of the model, its adapter named too.
        data_set: Name of the data set, or its path.
        split: Name of the split; "" for data without splits.
        recipe: Name of the recipe; None without one.
        metric: Name of the metric, which is also that of the first figure.
        figures: Figures of all examples by name, the metric's own first.
        intervals: Lower and upper bound of figures, by name; those that have none are
            left out.
        outcomes: Examples that have an answer, in the order of the data set.
        failures: Examples that have none, which no figure counts.
        settings: What the answers depend on besides model and data, as JSON has it:
            `prompt`, `mode`, `num_beams`, `antialias`, `text_length`, `num_images`,
            `resolution`, `dtype`, `backend`, `seed`, `level` and `num_draws` of
            the intervals, `versions` of packages. What is not known is left out.
        published: The papers' figures for this task, size and resolution; None where
            there are none, or the model is none of theirs.
        seconds: Wall-clock time of answering and scoring, over all calls that were
            needed.
    """

    model: str
    data_set: str
    split: str
    recipe: str | None
    metric: str
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    outcomes: Sequence[Outcome]
    failures: Sequence[Failure]
    settings: Mapping[str, Any]
    published: Published | None
    seconds: float
