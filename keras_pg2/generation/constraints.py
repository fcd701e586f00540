"""Answers held to a grammar, on the device: masks over logits.

Axes: B batch, V vocabulary, C classes of tokens.
"""

from __future__ import annotations

from keras import ops

from keras_pg2.codecs.grammars import OVER, TokenAutomaton
from keras_pg2.typing import Tensor


def allowed_tokens(
    automaton: TokenAutomaton, states: Tensor, num_left: Tensor
) -> Tensor:
    """Which token may come next.

    Args:
        automaton: the grammar.
        states: int32[B].
        num_left: int32[B], tokens that each row may still generate.

    Returns:
        bool[B, V], at least one True in each row that is not over and has as many
        tokens left as its state is away from the end.
    """
    following = ops.take(automaton.next_states, states, axis=0)  # [B, C]
    distances = ops.take(automaton.distances, ops.maximum(following, 0), axis=0)
    is_allowed = ops.logical_and(following >= 0, distances < num_left[:, None])
    return ops.take(is_allowed, automaton.token_classes, axis=1)


def next_states(automaton: TokenAutomaton, states: Tensor, tokens: Tensor) -> Tensor:
    """int32[B] states after int32[B] tokens; a row that is over stays so."""
    classes = ops.take(automaton.token_classes, tokens, axis=0)
    following = ops.take(automaton.next_states, states, axis=0)
    following = ops.take_along_axis(following, classes[:, None], axis=1)[:, 0]
    return ops.where(states == OVER, states, following)
