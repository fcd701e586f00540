"""What was decided about a picture, and how probable it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_pg2.metrics.metric import Answer
from keras_pg2.tasks.deciding.questions import Question, Value, as_answer


@dataclass(frozen=True)
class Decision:
    """The answer to a `Question`.

    Attributes:
        question: What was asked.
        value: The likeliest answer: True or False, one of the choices, or a number.
        probabilities: Of each value to be right, calibrated where the model has a
            `decision_calibration`, likeliest first; they add up to 1. Of a number
            without a range that of the value alone: the rest is of all other numbers.
        log_probabilities: Natural logarithm of the probability that the network alone
            gives to each whole answer; of a number without a range, among all numbers.
    """

    question: Question
    value: Value
    probabilities: Mapping[Value, float]
    log_probabilities: Mapping[Value, float]

    @property
    def probability(self) -> float:
        """Of the value, in [0, 1]."""
        return self.probabilities[self.value]

    @property
    def answer(self) -> str:
        """The value as the model writes it, such as "yes"."""
        return as_answer(self.value)

    @property
    def covered(self) -> float:
        """Probability that the network alone answers by one of the values, in [0, 1].

        Where it is small the model would say something else: another word, another
        number, or it has not understood the question.
        """
        return float(min(1.0, sum(np.exp(list(self.log_probabilities.values())))))

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON has it; probabilities are by answer."""
        return {
            "question": self.question.text,
            "type": self.question.kind,
            "value": self.value,
            "probability": round(self.probability, 6),
            "probabilities": {
                as_answer(value): round(probability, 6)
                for value, probability in self.probabilities.items()
            },
        }

    def to_answer(self) -> Answer:
        """Return what metrics take: the text and its calibrated probability."""
        return Answer(
            self.answer,
            log_probability=self.log_probabilities[self.value],
            probability=self.probability,
        )


def log_of_rest(log_probability: float) -> float:
    """Return the logarithm of 1 - p of that of p, at least that of 1e-12."""
    return float(np.log(max(-np.expm1(log_probability), 1e-12)))
