"""How likely a model finds the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    with_kinds,
)


@dataclass(frozen=True, kw_only=True)
class Perplexity(PreparedMetric):
    """Mean negative log-likelihood of the right answers' tokens, in three ways.

    The answer of an example is the right one itself, with the natural logarithm of its
    probability and the number of its tokens, end token included, both from a forward
    pass over it. "perplexity" is the mean over all tokens, as the loss of training is;
    "perplexity_of_examples" the mean over examples of the mean over their tokens, and
    "nll_of_examples" that of the sum over them, as big_vision's `avg` and `sum` are. As
    there, it is the logarithm; "exp_perplexity" is what texts on language models call
    perplexity, exp(mean over all tokens).

    Attributes:
        name: As for `Metric`.
        meaning: As for `Metric`.
        source: As for `Metric`.
        is_higher_better: False.
    """

    name: str
    meaning: str
    source: str
    is_higher_better: bool = False

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return negative log-likelihood, number of tokens, and kind.

        Raises:
            ValueError: if the answer is none of the right ones, or its probability or
                number of tokens is not known.
        """
        if truth.answers and answer.text not in truth.answers:
            raise ValueError(
                "expected the probability of a right answer, received that of another "
                "one. Score right answers, none that were generated."
            )
        if answer.log_probability is None or not answer.num_tokens:
            raise ValueError(
                "expected the log probability and the number of tokens of the right "
                "answer, received none."
            )
        return {
            "nll": -float(answer.log_probability),
            "num_tokens": int(answer.num_tokens),
            "kind": truth.kind,
        }

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], the mean over the tokens of each example."""
        return column(rows, "nll") / column(rows, "num_tokens")

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to figures."""
        nll, tokens = column(rows, "nll"), column(rows, "num_tokens")
        kinds, scores = Kinds(row["kind"] for row in rows), self.scores(rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            of_tokens = mean(nll, counts) / mean(tokens, counts)
            nll_of, tokens_of = kinds.means(nll, counts), kinds.means(tokens, counts)
            own = {
                self.name: of_tokens,
                "perplexity_of_examples": mean(scores, counts),
                "nll_of_examples": mean(nll, counts),
                "exp_perplexity": _exp(of_tokens),
            }
            of_kinds = {kind: nll_of[kind] / tokens_of[kind] for kind in kinds.names}
            return with_kinds(own, of_kinds)

        return figures


def _exp(value: float) -> float:
    """Return e to the power of a value, infinity where it is too large for a float."""
    with np.errstate(over="ignore"):
        return float(np.exp(value))


METRICS = (
    Perplexity(
        name="perplexity",
        meaning="mean negative log-likelihood of the right answers' tokens",
        source="big_vision `evaluators/proj/paligemma/perplexity.py`; mean over tokens "
        "as in `u.weighted_softmax_xent`",
    ),
)
