"""How probable a decision is, fitted where the truth is known.

A network says how likely it is to write an answer. A calibration makes that the
probability of being right: the logarithms are divided by a temperature, one for each
kind of question, and a number is added to those of "yes" (Guo et al., 2017,
arXiv:1706.04599, section 4; for two answers that is Platt's scaling).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_pg2.files.json_fields import Fields
from keras_pg2.files.whole_files import write_text
from keras_pg2.preprocessing.preset_files import DECISION_FILE
from keras_pg2.tasks.deciding.decisions import Decision, log_of_rest
from keras_pg2.tasks.deciding.questions import Kind, Value

_SMALLEST, _LARGEST = 1e-3, 1e3
"""Bounds of temperatures; fitted ones are between a tenth and ten."""


@dataclass(frozen=True, kw_only=True)
class DecisionCalibration:
    """Temperatures of the kinds of questions, and a bias towards "yes".

    1 and 0 leave the probabilities of the network as they are.

    Attributes:
        boolean: Temperature of yes or no.
        yes_bias: Number added to the logarithm of "yes" beside "no".
        choice: Temperature of choices.
        number: Temperature of numbers.
        fitted_on: What it was fitted on, in words.
    """

    boolean: float = 1.0
    yes_bias: float = 0.0
    choice: float = 1.0
    number: float = 1.0
    fitted_on: str = ""

    def __call__(self, kind: Kind, log_probabilities: np.ndarray) -> np.ndarray:
        """Return float64[A] probabilities that add up to 1.

        Args:
            kind: Kind of the question.
            log_probabilities: float64[A], of each answer by the network; of "boolean"
                those of yes and no.
        """
        logits = log_probabilities / getattr(self, kind)
        if kind == "boolean":
            logits = logits + np.array([self.yes_bias, 0.0])
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum())

    @classmethod
    def fit(
        cls, decisions: Iterable[Decision], truths: Iterable[Value], fitted_on: str = ""
    ) -> DecisionCalibration:
        """Return the calibration under which the truths are likeliest.

        It does not matter whether the decisions were calibrated. A kind that was not
        asked keeps what the network says. As for Platt, of N decisions of a kind one
        in N + 2 counts as wrong, so that a model that is always right does not become
        infinitely sure.

            decisions = model.decide(pictures, questions)

        Args:
            decisions: Of `model.decide`, on pictures that the model was not trained on.
            truths: The right value of each.
            fitted_on: What these are, in words.

        Raises:
            ValueError: if there is no decision, or a truth is none of the values.
        """
        rows: dict[str, list[tuple[np.ndarray, int]]] = {}
        for decision, truth in zip(decisions, truths, strict=True):
            scores = decision.log_probabilities
            values = list(decision.question.values)
            if not values:
                # One number beside all others.
                own = next(iter(scores.values()))
                row = np.array([own, log_of_rest(own)])
                index = 0 if decision.value == truth else 1
            elif type(truth) is not type(values[0]) or truth not in values:
                raise ValueError(
                    f"Expected the truth of {decision.question.text!r} as one of its "
                    f"values. Received: {truth!r}."
                )
            else:
                row, index = np.array([scores[v] for v in values]), values.index(truth)
            rows.setdefault(decision.question.kind, []).append((row, index))
        if not rows:
            raise ValueError("Expected decisions to fit on, received none.")
        fitted = {kind: _fit(own, kind == "boolean") for kind, own in rows.items()}
        bias = fitted.get("boolean", (1.0, 0.0))[1]
        temperatures = {kind: temperature for kind, (temperature, _) in fitted.items()}
        return cls(**temperatures, yes_bias=bias, fitted_on=fitted_on)

    def save(self, directory: str | Path) -> None:
        """Write `DECISION_FILE` into a preset's directory."""
        text = json.dumps(asdict(self), indent=2)
        write_text(text + "\n", Path(directory) / DECISION_FILE)

    @classmethod
    def from_bytes(cls, content: bytes, source: str | Path) -> DecisionCalibration:
        """Read the content of the file, which errors call `source`.

        Raises:
            ValueError: if it holds something else; names the field.
        """
        fields = Fields.parse(content, source)
        temperatures = {
            name: fields.number(name, at_least=_SMALLEST, at_most=_LARGEST)
            for name in ("boolean", "choice", "number")
        }
        return cls(
            **temperatures,
            yes_bias=fields.number("yes_bias", at_least=-_LARGEST, at_most=_LARGEST),
            fitted_on=fields.text("fitted_on", ""),
        )


def _fit(rows: Sequence[tuple[np.ndarray, int]], has_bias: bool) -> tuple[float, float]:
    """Return temperature and bias by Newton's method on the mean cross-entropy.

    It is convex in 1 / temperature and bias. Rows are of different lengths, and are
    filled up by answers that are never given.
    """
    longest = max(len(row) for row, _ in rows)
    logits = np.full((len(rows), longest), -np.inf)
    for i, (row, _) in enumerate(rows):
        logits[i, : len(row)] = row - row.max()
    is_own = np.isfinite(logits)
    logits = np.where(is_own, logits, 0.0)
    wrong = 1 / (len(rows) + 2)
    targets = np.where(is_own, wrong / (is_own.sum(axis=1, keepdims=True) - 1), 0.0)
    targets[np.arange(len(rows)), [index for _, index in rows]] = 1 - wrong
    # Features of each answer: what the network says, and whether it is "yes".
    features = [logits]
    if has_bias:
        features.append(np.eye(1, longest).repeat(len(rows), axis=0))
    stacked = np.stack(features, axis=2)
    weights = np.array([1.0, 0.0][: len(features)])
    for _ in range(100):
        scores = np.where(is_own, stacked @ weights, -np.inf)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        expected = np.einsum("na,naf->nf", shares, stacked)
        gradient = (expected - np.einsum("na,naf->nf", targets, stacked)).mean(axis=0)
        square = np.einsum("na,naf,nag->nfg", shares, stacked, stacked)
        square = square - np.einsum("nf,ng->nfg", expected, expected)
        curvature = square.mean(axis=0) + 1e-9 * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        # Where all is nearly sure the curve is flat, and a whole step too far.
        step *= min(1.0, 0.5 * max(weights[0], 0.1) / max(abs(step).max(), 1e-12))
        weights = weights - step
        weights[0] = np.clip(weights[0], 1 / _LARGEST, 1 / _SMALLEST)
        if np.abs(step).max() < 1e-10:
            break
    bias = float(weights[1]) if has_bias else 0.0
    return float(1 / weights[0]), bias
