"""What runners of exported files share: tokens of texts, and greedy choices.

Needs numpy and a SentencePiece vocabulary; no Keras.

Axes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_pg2.codecs.grammars import OVER, START, TokenAutomaton
from keras_pg2.codecs.location_tokens import NUM_BINS
from keras_pg2.codecs.segment_tokens import NUM_CODES

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor


class ScoredText(NamedTuple):
    """An answer with the probabilities of its tokens by the network alone.

    Attributes:
        text: the answer.
        token_ids: int32[N], its tokens, the end token included.
        token_log_probabilities: float32[N], of each token after those before it.
    """

    text: str
    token_ids: np.ndarray
    token_log_probabilities: np.ndarray

    @property
    def log_probability(self) -> float:
        """Natural logarithm of the probability of all its tokens."""
        return float(self.token_log_probabilities.sum(dtype=np.float64))


def log_probability(logits: np.ndarray, token: int) -> float:
    """Return the natural logarithm of a token's probability, of float32[V] logits."""
    wide = logits.astype(np.float64)
    largest = wide.max()
    total = np.log(np.exp(wide - largest).sum()) + largest
    return float(wide[token] - total)


class VocabularyTokenizer:
    """The part of `PaliGemma2Tokenizer` that grammars and runners need.

    Args:
        processor: a `sentencepiece.SentencePieceProcessor`.
        end_token_id: ends an answer.
        special_token_ids: are no text.
    """

    def __init__(
        self,
        processor: SentencePieceProcessor,
        end_token_id: int,
        special_token_ids: Sequence[int],
    ) -> None:
        self._processor = processor
        self.end_token_id = end_token_id
        self._special_token_ids = frozenset(special_token_ids)

    @property
    def location_ids(self) -> range:
        """Ids of `<loc0000>`..`<loc1023>`, in order."""
        first = self._processor.PieceToId("<loc0000>")
        return range(first, first + NUM_BINS)

    @property
    def segment_ids(self) -> range:
        """Ids of `<seg000>`..`<seg127>`, in order."""
        first = self._processor.PieceToId("<seg000>")
        return range(first, first + NUM_CODES)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, with nothing around them."""
        return [self._processor.Encode(text) for text in texts]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        known = range(self._processor.GetPieceSize())
        ids = [i for i in token_ids if i in known and i not in self._special_token_ids]
        return str(self._processor.Decode(ids))


@dataclass
class GreedyChoice:
    """Chooses the likeliest token that a grammar lets follow.

    Attributes:
        automaton: the grammar over V tokens; None allows all.
        state: of the grammar, after the tokens that were chosen.
    """

    automaton: TokenAutomaton | None
    state: int = START

    def choose(self, logits: np.ndarray, num_left: int) -> int:
        """The next token of float32[V] logits, of at most `num_left` more.

        Raises:
            ValueError: when no answer of the grammar is as short as that.
            FloatingPointError: if there is NaN or infinity among the logits.
        """
        if not np.isfinite(logits.sum()):
            raise FloatingPointError(
                "Expected finite numbers from the network, received NaN or infinity. "
                "Export it from another checkpoint, or with other number types."
            )
        if self.automaton is None:
            return int(logits.argmax())
        classes, table, distances = self.automaton
        if distances[self.state] > num_left:
            raise ValueError(
                "Expected room for the shortest answer that the grammar allows, "
                f"{distances[self.state]} tokens. Received: {num_left}. Raise "
                "max_new_tokens, or export with a longer cache_length."
            )
        next_states = table[self.state]
        is_allowed = next_states >= 0
        is_allowed &= distances[np.maximum(next_states, 0)] < num_left
        token = int(np.where(is_allowed[classes], logits, -np.inf).argmax())
        self.state = int(next_states[classes[token]])
        return token

    @property
    def is_over(self) -> bool:
        """Whether the grammar lets nothing follow."""
        return self.state == OVER
