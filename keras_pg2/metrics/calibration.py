"""Whether probabilities of being right are right: reliability, ECE, Brier score.

An answer's probability is its calibrated one where there is one, otherwise that of its
whole text, exp(log probability). Bins are open below and closed above, as in the paper
and in scikit-learn's `calibration_curve`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_pg2.metrics.answers.exact import is_exact_in_lower_case
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    weights,
)

NUM_BINS = 15
"""As in the paper's tables."""


class Bin(NamedTuple):
    """Answers of about the same probability.

    Attributes:
        lower: Lower end of the bin, in [0, 1].
        upper: Upper end.
        num_answers: Number of answers; 0 for an empty bin.
        probability: Their mean probability; NaN for an empty bin.
        score: Their mean score; NaN for an empty bin.
    """

    lower: float
    upper: float
    num_answers: int
    probability: float
    score: float


def confidence(answer: Answer) -> float | None:
    """Return the probability of an answer, in [0, 1]; None if it is not known.

    Raises:
        ValueError: if it is no probability.
    """
    found = answer.probability
    if found is None and answer.log_probability is not None:
        found = float(np.exp(answer.log_probability))
    # Sums of logarithms round.
    if found is not None and not 0 <= found <= 1 + 1e-6:
        raise ValueError(f"expected a probability from 0 to 1, received {found}.")
    return None if found is None else min(float(found), 1.0)


def reliability_table(
    probabilities: Sequence[float] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    num_bins: int = NUM_BINS,
) -> list[Bin]:
    """Return bins of equal width from 0 to 1, for a reliability diagram.

    Args:
        probabilities: N numbers in [0, 1].
        scores: N numbers in [0, 1], how right each answer is.
        num_bins: Number of bins, empty ones included.
    """
    given, right = np.asarray(probabilities, float), np.asarray(scores, float)
    edges = np.linspace(0, 1, num_bins + 1)
    counts, means = _fill(given, right, edges, None)
    return [
        Bin(float(edges[i]), float(edges[i + 1]), int(counts[i]), *means[:, i].tolist())
        for i in range(num_bins)
    ]


def expected_calibration_error(
    probabilities: np.ndarray,
    scores: np.ndarray,
    counts: np.ndarray | None = None,
    num_bins: int = NUM_BINS,
) -> float:
    """Return ECE in bins of equal width, in [0, 1].

    It is the mean over answers of |mean probability - mean score| of their bin. Source:
    Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3.

    Args:
        probabilities: float64[N] in [0, 1].
        scores: float64[N] in [0, 1].
        counts: int[N], how often each counts; None for once.
        num_bins: Number of bins.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    return _mean_gap(*_fill(probabilities, scores, edges, counts))


def equal_mass_calibration_error(
    probabilities: np.ndarray,
    scores: np.ndarray,
    counts: np.ndarray | None = None,
    num_bins: int = NUM_BINS,
) -> float:
    """Return ECE in bins of as many answers each, between quantiles of probabilities.

    Equal probabilities are never parted, so bins can differ in size. Source: Nguyen and
    O'Connor, arXiv:1508.05154, section 4.1, for bins of equal size.

    Args:
        probabilities: float64[N] in [0, 1].
        scores: float64[N] in [0, 1].
        counts: int[N], how often each counts; None for once.
        num_bins: Number of bins.
    """
    drawn = probabilities if counts is None else np.repeat(probabilities, counts)
    edges = np.quantile(drawn, np.linspace(0, 1, num_bins + 1))
    return _mean_gap(*_fill(probabilities, scores, edges, counts))


def _fill(
    probabilities: np.ndarray,
    scores: np.ndarray,
    edges: np.ndarray,
    counts: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return float64[B] counts, and float64[2, B] mean probabilities and scores."""
    drawn = weights(counts, len(scores))
    bins, num = np.searchsorted(edges[1:-1], probabilities), len(edges) - 1
    totals = np.bincount(bins, drawn, num)
    sums = [np.bincount(bins, drawn * x, num) for x in (probabilities, scores)]
    means = np.full((2, num), np.nan)
    np.divide(sums, totals, out=means, where=totals > 0)
    return totals, means


def _mean_gap(totals: np.ndarray, means: np.ndarray) -> float:
    filled = totals > 0
    gaps = np.abs(means[0] - means[1])[filled]
    return float(np.dot(totals[filled], gaps) / totals.sum())


@dataclass(frozen=True, kw_only=True)
class Calibration(PreparedMetric):
    """Expected calibration error of answers' probabilities, in both ways, and Brier's.

    Figures are "ece" (bins of equal width), "ece_equal_mass", "brier" (mean squared
    difference of probability and score), and the means of both, "mean_probability" and
    "mean_score".

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        source: As for `Metric`.
        score: Returns how right an answer is, in [0, 1].
        is_higher_better: False.
    """

    name: str
    meaning: str
    source: str
    score: Callable[[Answer, Truth], float]
    is_higher_better: bool = False

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return probability and score of an example.

        Raises:
            ValueError: if the answer has no probability, or the score needs what the
                truth lacks.
        """
        probability = confidence(answer)
        if probability is None:
            raise ValueError(
                "expected an answer with a probability or log probability, received "
                "none."
            )
        return {"probability": probability, "score": self.score(answer, truth)}

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the squared difference of probability and score."""
        given, right = column(rows, "probability"), column(rows, "score")
        return (given - right) ** 2

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to figures."""
        given, right = column(rows, "probability"), column(rows, "score")
        return lambda counts=None: {
            self.name: expected_calibration_error(given, right, counts),
            "ece_equal_mass": equal_mass_calibration_error(given, right, counts),
            "brier": mean((given - right) ** 2, counts),
            "mean_probability": mean(given, counts),
            "mean_score": mean(right, counts),
        }


METRICS = (
    Calibration(
        name="ece",
        meaning="mean difference of probability and share of right answers (equal in "
        f"lower case) in {NUM_BINS} bins of equal width",
        source="arXiv:1706.04599, equation 3",
        score=is_exact_in_lower_case,
    ),
)
