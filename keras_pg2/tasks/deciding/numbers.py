"""Whole numbers as answers, digit by digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_pg2.codecs.grammars import (
    OVER,
    START,
    AutomatonBuilder,
    TokenAutomaton,
    Tokenizer,
)

MOST_DIGITS = 9
_DIGITS = "0123456789"


@dataclass(frozen=True)
class NumberGrammar:
    """Answers that are a whole number of up to nine digits, without leading zeros."""

    def automaton(self, tokenizer: Tokenizer, vocabulary_size: int) -> TokenAutomaton:
        """See `Grammar.automaton`.

        Raises:
            ValueError: if the vocabulary has pieces of several digits.
        """
        builder = AutomatonBuilder()
        digits = digit_tokens(tokenizer)
        zero, others = builder.token_class(digits[:1]), builder.token_class(digits[1:])
        end = builder.token_class([tokenizer.end_token_id])
        builder.add_path(START, [zero, end], OVER)
        state = builder.add_path(START, [others], None)
        builder.edges[state][end] = OVER
        for _ in range(MOST_DIGITS - 1):
            following = builder.add_path(state, [zero], None)
            builder.add_path(state, [others], following)
            builder.edges[following][end] = OVER
            state = following
        return builder.build(vocabulary_size)


class DigitSteps(NamedTuple):
    """A number as a way through a tree of digits.

    Attributes:
        answers: Tokens of the beginning before each step, with each token that may
            follow it.
        steps: For each step, the rows of `answers` that are compared there, the one
            that was taken first.
    """

    answers: list[list[int]]
    steps: list[list[int]]

    @classmethod
    def of(cls, number: Sequence[int], tokenizer: Tokenizer) -> DigitSteps:
        """Return the steps of a number's tokens, the end token included."""
        digits, end = digit_tokens(tokenizer), tokenizer.end_token_id
        answers: list[list[int]] = []
        steps = []
        for i, token in enumerate(number):
            before = list(number[:i])
            follow = digits if i == 0 else [*digits, end]
            if i == MOST_DIGITS or before == digits[:1]:
                follow = [end]
            others = [each for each in follow if each != token]
            steps.append(list(range(len(answers), len(answers) + 1 + len(others))))
            answers += [[*before, each] for each in [token, *others]]
        return cls(answers, steps)

    def log_probability(self, totals: np.ndarray) -> float:
        """Return that of the number among all numbers.

        Args:
            totals: float64[A], log-probability of each row of `answers`.
        """
        parts = (totals[step] for step in self.steps)
        return float(sum(part[0] - np.logaddexp.reduce(part) for part in parts))


def digit_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of 0 to 9.

    Raises:
        ValueError: if the vocabulary has pieces of several digits.
    """
    *rows, joined = tokenizer.tokenize([*_DIGITS, _DIGITS])
    tokens = [token for row in rows for token in row]
    if len(tokens) != len(_DIGITS) or joined != tokens:
        raise ValueError(
            "Expected a vocabulary with a token for each digit, to find a number "
            "without a range. Received another. Pass the numbers to choose from."
        )
    return tokens


def read_number(tokens: Sequence[int], tokenizer: Tokenizer) -> int:
    """Return the number of an answer's tokens, the end token included."""
    digits = digit_tokens(tokenizer)
    return int("".join(_DIGITS[digits.index(token)] for token in tokens[:-1]))
