"""Grammars of answers, over tokens.

A grammar becomes a `TokenAutomaton`: a table of states, and for each state which
token leads where. Tokens that all states treat alike share a class (the 1,024
locations are one), so that the table stays small at a vocabulary of 257k.

An answer is always finished within its limit: a token is allowed only where the
shortest way on from there still fits.

Axes: V vocabulary, S states, C classes of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np

from keras_pg2.checks.texts import check_unicode
from keras_pg2.codecs.segment_tokens import NUM_TOKENS
from keras_pg2.preprocessing.prompts import CONTROL_TOKENS
from keras_pg2.typing import Tensor

FORBIDDEN = -1
START = 0
"""The state before the first token."""
OVER = 1
"""The state after the end token."""
UNREACHABLE = 2**30
SPACE_OF_PIECES = "\u2581"
"""What stands for a space in a SentencePiece vocabulary, and is read as one."""


class TokenAutomaton(NamedTuple):
    """A grammar as arrays, inputs of the compiled function.

    Attributes:
        token_classes: int32[V].
        next_states: int32[S, C], `FORBIDDEN` where a class may not follow.
        distances: int32[S], fewest tokens to the end, the end token included; 0 in
            the state `OVER`.
    """

    token_classes: Tensor
    next_states: Tensor
    distances: Tensor


class Tokenizer(Protocol):
    """What a grammar needs of a tokenizer."""

    end_token_id: int

    @property
    def location_ids(self) -> range: ...

    @property
    def segment_ids(self) -> range: ...

    def tokenize(self, texts: list[str], /) -> list[list[int]]: ...


class Grammar(Protocol):
    """What `generate(constraint=...)` takes."""

    def automaton(self, tokenizer: Tokenizer, vocabulary_size: int) -> TokenAutomaton:
        """The grammar over the tokens of a tokenizer.

        Args:
            tokenizer: a `PaliGemma2Tokenizer`.
            vocabulary_size: V of the network.
        """


def check_grammar(constraint: object) -> None:
    """Raises TypeError for what is no `Grammar`."""
    if not hasattr(constraint, "automaton"):
        raise TypeError(
            "Expected constraint as a LocationGrammar, Choices, or another object with "
            f"an `automaton` method. Received: {constraint!r}."
        )


@dataclass
class AutomatonBuilder:
    """Collects states and the tokens that lead from one to another.

    Attributes:
        edges: for each state, the next state by class of token.
    """

    edges: list[dict[int, int]] = field(default_factory=lambda: [{}, {}])
    _class_of_token: dict[int, int] = field(default_factory=dict)
    _num_classes: int = 1  # Class 0 is all tokens that no edge names.

    def add_state(self) -> int:
        """A new state."""
        self.edges.append({})
        return len(self.edges) - 1

    def token_class(self, tokens: Iterable[int]) -> int:
        """The class of tokens that are always used together."""
        ids = list(tokens)
        known = {self._class_of_token.get(token) for token in ids}
        if known == {None}:
            self._class_of_token.update(dict.fromkeys(ids, self._num_classes))
            self._num_classes += 1
            return self._num_classes - 1
        if len(known) == 1 and None not in known:
            return self._class_of_token[ids[0]]
        raise ValueError(
            f"Expected tokens that belong together in the whole grammar: {ids[:4]}..."
        )

    def add_path(self, start: int, classes: Sequence[int], end: int | None) -> int:
        """Leads from a state along classes of tokens, over states that are there.

        Args:
            start: the first state.
            classes: of the tokens, one after another.
            end: the state after the last; None for whichever is there, or a new one.

        Returns:
            The state after the last.
        """
        state = start
        for i, token_class in enumerate(classes):
            is_last = i == len(classes) - 1
            following = self.edges[state].get(token_class)
            if following is None:
                following = end if is_last and end is not None else self.add_state()
                self.edges[state][token_class] = following
            elif is_last and end not in (None, following):
                raise ValueError(
                    "Expected texts that can be told apart by their tokens."
                )
            state = following
        return state

    def build(self, vocabulary_size: int) -> TokenAutomaton:
        """The tables, sizes rounded up so that like grammars are compiled once."""
        shape = (_round_up(len(self.edges)), _round_up(self._num_classes))
        table = np.full(shape, FORBIDDEN, np.int32)
        for state, edges in enumerate(self.edges):
            for token_class, following in edges.items():
                table[state, token_class] = following
        classes = np.zeros(vocabulary_size, np.int32)
        tokens = list(self._class_of_token)
        classes[tokens] = [self._class_of_token[token] for token in tokens]
        return TokenAutomaton(classes, table, _distances(table))


@dataclass(frozen=True)
class LocationGrammar:
    """Answers to `detect` and `segment`: boxes with one of the asked labels.

    An answer is empty, or instances joined by " ; ", each of four `<loc>` tokens,
    sixteen `<seg>` tokens or none, and a label.

    Attributes:
        labels: what was asked for.
        segments: whether masks come "never", "always", or as the model will.

    Raises:
        ValueError: when there is no label, or one that no tokens make.
    """

    labels: Sequence[str]
    segments: Literal["never", "optional", "always"] = "optional"

    def __post_init__(self) -> None:
        _check_texts("labels", self.labels)
        for label in self.labels:
            parts = (";", "\n", "\r", "<loc", "<seg", *CONTROL_TOKENS)
            if label != label.strip() or any(part in label for part in parts):
                raise ValueError(
                    "Expected labels as plain text without location tokens, mask "
                    "tokens, <eos> and the like, semicolons, newlines and spaces at "
                    "the ends, with which an answer could not be read. Received: "
                    f"{label!r}."
                )
        if self.segments not in ("never", "optional", "always"):
            raise ValueError(
                'Expected segments as "never", "optional" or "always". Received: '
                f"{self.segments!r}."
            )

    def automaton(self, tokenizer: Tokenizer, vocabulary_size: int) -> TokenAutomaton:
        """See `Grammar.automaton`."""
        builder = AutomatonBuilder()
        location = builder.token_class(tokenizer.location_ids)
        segment = builder.token_class(tokenizer.segment_ids)
        end = builder.token_class([tokenizer.end_token_id])
        box = [location] * 4
        # After the fourth location, with or without a mask in between.
        after_box = builder.add_path(START, box, None)
        builder.edges[START][end] = OVER
        label = builder.add_state()
        mask = [segment] * NUM_TOKENS
        if self.segments != "never":
            builder.add_path(after_box, mask, label)
        for text in self.labels:
            followed, last = _label_tokens(tokenizer, text)
            one_more = [builder.token_class([token]) for token in followed]
            # The next instance: behind the joint, an end may not come.
            builder.add_path(
                label, [*one_more, location], builder.edges[START][location]
            )
            closed = [builder.token_class([token]) for token in last]
            builder.add_path(label, [*closed, end], OVER)
        if self.segments != "always":
            builder.edges[after_box].update(builder.edges[label])
        return builder.build(vocabulary_size)


@dataclass(frozen=True)
class Choices:
    """Answers that are one of a list.

    `PaliGemma2CausalLM.choose` gives the probability of each.

    Attributes:
        texts: the answers to choose from.

    Raises:
        ValueError: when there is none, or two are the same.
    """

    texts: Sequence[str]

    def __post_init__(self) -> None:
        _check_texts("choices", self.texts)

    def automaton(self, tokenizer: Tokenizer, vocabulary_size: int) -> TokenAutomaton:
        """See `Grammar.automaton`."""
        builder = AutomatonBuilder()
        for tokens in self.tokens(tokenizer):
            classes = [builder.token_class([token]) for token in tokens]
            builder.add_path(START, classes, OVER)
        return builder.build(vocabulary_size)

    def tokens(self, tokenizer: Tokenizer) -> list[list[int]]:
        """The tokens of each text, the end token included."""
        end = tokenizer.end_token_id
        rows = [[*ids, end] for ids in tokenizer.tokenize(list(self.texts))]
        if len({tuple(row) for row in rows}) < len(rows):
            raise ValueError(
                "Expected choices that differ in their tokens. Received: "
                f"{list(self.texts)}."
            )
        return rows


def start_states(
    automaton: TokenAutomaton, rows: Sequence[Sequence[int]]
) -> np.ndarray:
    """int32[B] states after the tokens that each answer begins with.

    Raises:
        ValueError: when a beginning is not of the grammar.
    """
    states = np.full(len(rows), START, np.int32)
    for i, row in enumerate(rows):
        for token in row:
            states[i] = automaton.next_states[states[i], automaton.token_classes[token]]
            if states[i] in (FORBIDDEN, OVER):
                raise ValueError(
                    "Expected responses that the constraint allows to begin an answer. "
                    f"Received another in row {i}, at token {token}."
                )
    return states


def check_room(
    automaton: TokenAutomaton, states: np.ndarray, limits: np.ndarray
) -> None:
    """Raises ValueError when a row's limit is too short for any answer."""
    for row, (needed, limit) in enumerate(zip(automaton.distances[states], limits)):
        if limit < needed:
            raise ValueError(
                f"Expected room for the shortest answer that the constraint allows, "
                f"{needed} tokens. Received: {limit} in row {row}. Raise "
                "max_new_tokens or max_length."
            )


def _label_tokens(tokenizer: Tokenizer, label: str) -> tuple[list[int], list[int]]:
    """Tokens of a label between two boxes (with the joint), and after the last.

    They are cut out of a whole answer, since pieces depend on what stands before.
    """
    box = "<loc0000>" * 4
    [ids] = tokenizer.tokenize([f"{box} {label} ; {box} {label}"])
    is_location = np.isin(ids, list(tokenizer.location_ids))
    indices = np.flatnonzero(is_location)
    if len(indices) != 8:
        raise ValueError(
            "Expected labels as plain text, without location tokens. Received: "
            f"{label!r}."
        )
    return ids[indices[3] + 1 : indices[4]], ids[indices[7] + 1 :]


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if (
        isinstance(texts, str)
        or not texts
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise ValueError(
            f"Expected {name} as a list of texts that are not empty. Received: "
            f"{texts!r}."
        )
    for text in texts:
        check_unicode(text, name)
        if SPACE_OF_PIECES in text:
            raise ValueError(
                f"Expected {name} without {SPACE_OF_PIECES!r}, which stands for a "
                f"space in vocabularies. Received: {text!r}. Write a space."
            )
    if len(set(texts)) < len(texts):
        raise ValueError(f"Expected {name} that differ. Received: {list(texts)}.")


def _round_up(size: int) -> int:
    """The power of two, at least 64, that holds so many."""
    return max(64, 1 << (size - 1).bit_length())


def _distances(table: np.ndarray) -> np.ndarray:
    """Fewest tokens from each state to the end: int32[S] of int32[S, C]."""
    distances = np.full(len(table), UNREACHABLE, np.int32)
    distances[OVER] = 0
    while True:
        ways = np.where(table >= 0, distances[np.maximum(table, 0)], UNREACHABLE)
        shorter = np.minimum(distances, np.minimum(ways.min(axis=1) + 1, UNREACHABLE))
        if (shorter == distances).all():
            return distances
        distances = shorter
