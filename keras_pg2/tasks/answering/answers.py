"""From generated tokens to what a user gets: texts, scores, pieces of text.

Axes: B batch, N new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_pg2.generation.decoding import Generated
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor

Arrays: TypeAlias = dict[str, np.ndarray]
Answers: TypeAlias = Any
"""What `generate` returns, whose overloads say more."""

INCOMPLETE = "\ufffd"
"""What stands for bytes that are no whole character (yet)."""


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer with its probability by the network alone.

    Temperature, top-k, repetition control and constraints choose tokens, but do not
    change these numbers.

    Attributes:
        text: the answer.
        log_probability: natural logarithm of the probability of all its tokens, the
            end token included.
        token_ids: int32[N], the generated tokens, the end token included.
        token_log_probabilities: float32[N], of each token after those before it.
    """

    text: str
    log_probability: float
    token_ids: np.ndarray
    token_log_probabilities: np.ndarray

    @property
    def probability(self) -> float:
        """Of the whole answer, in [0, 1]."""
        return float(np.exp(self.log_probability))


def scored_answers(texts: Sequence[str], answers: Generated) -> list[ScoredAnswer]:
    """Texts with the scores of their tokens."""
    scored = []
    for i, text in enumerate(texts):
        count = int(answers.num_generated[i])
        own = answers.log_probabilities[i, :count]
        total = float(own.sum(dtype=np.float64))
        scored.append(
            ScoredAnswer(
                text=text,
                log_probability=total,
                token_ids=answers.tokens[i, :count],
                token_log_probabilities=own,
            )
        )
    return scored


def decode_answers(
    preprocessor: PaliGemma2CausalLMPreprocessor, answers: Generated
) -> list[str]:
    """The texts of the generated tokens alone."""
    indices = np.arange(answers.tokens.shape[1])
    mask = indices < answers.num_generated[:, None]
    rows = {"token_ids": answers.tokens, "padding_mask": mask}
    return preprocessor.generate_postprocess(rows)


def as_stop_strings(stop_strings: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return a text or texts as a tuple, () for None.

    Raises:
        ValueError: if they are something else, or empty.
    """
    if stop_strings is None:
        return ()
    is_several = isinstance(stop_strings, Iterable) and not isinstance(
        stop_strings, str
    )
    texts: tuple[Any, ...] = tuple(stop_strings) if is_several else (stop_strings,)
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError(
            "Expected stop_strings as a text or a list of texts that are not empty. "
            f"Received: {stop_strings!r}."
        )
    return texts


def cut_at(text: str, stop_strings: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    found = [text.find(stop) for stop in stop_strings]
    return text[: min((index for index in found if index >= 0), default=len(text))]


def cut_answers(
    preprocessor: PaliGemma2CausalLMPreprocessor,
    answers: Generated,
    stop_strings: Sequence[str],
) -> Generated:
    """Takes off the tokens behind the one that completes a stop string."""
    num_generated = answers.num_generated.copy()
    texts = decode_answers(preprocessor, answers)
    for row, text in enumerate(texts):
        if len(cut_at(text, stop_strings)) == len(text):
            continue
        for count in range(1, int(num_generated[row]) + 1):
            head = _first_tokens(answers, row, count)
            [text] = decode_answers(preprocessor, head)
            if len(cut_at(text, stop_strings)) < len(text):
                num_generated[row] = count
                break
    return answers._replace(num_generated=num_generated)


def _first_tokens(answers: Generated, row: int, count: int) -> Generated:
    return answers._replace(
        tokens=answers.tokens[row : row + 1, :count],
        num_generated=np.array([count]),
    )


class TextStream:
    """Says, as tokens come, which text is new and will not change any more.

    Bytes of a character that is not whole yet are held back, and so is what may
    become a stop string.

    Args:
        decode: int[...] token ids to text.
        stop_strings: the text ends before the first of them.
    """

    def __init__(
        self, decode: Callable[[np.ndarray], str], stop_strings: Sequence[str]
    ) -> None:
        self._decode = decode
        self._stop_strings = stop_strings
        self._num_given = 0
        self.is_stopped = False

    def push(self, token_ids: np.ndarray, is_last: bool) -> str:
        """The new text.

        Args:
            token_ids: int32[...], all tokens until now.
            is_last: whether there will be no more.
        """
        decoded = self._decode(token_ids)
        text = cut_at(decoded, self._stop_strings)
        self.is_stopped = len(text) < len(decoded)
        if not (is_last or self.is_stopped):
            text = text.rstrip(INCOMPLETE)
            text = text[: len(text) - self._num_undecided(text)]
        new = text[self._num_given :]
        self._num_given = max(self._num_given, len(text))
        return new

    def _num_undecided(self, text: str) -> int:
        """Characters at the end with which a stop string may begin."""
        longest = 0
        for stop in self._stop_strings:
            for length in range(1, len(stop)):
                if text.endswith(stop[:length]):
                    longest = max(longest, length)
        return longest
