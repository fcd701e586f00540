"""Beam search: the likeliest unfinished answers go on, the best finished one wins.

At each step every beam is continued by its likeliest tokens, and of all these
candidates the best are kept: twice as many as beams, so that enough unfinished ones
remain when some end. The rules are those of transformers (see `BeamSearch`).

Axes: B batch, W beams, C candidates, N new tokens, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from keras_pg2.codecs.grammars import OVER
from keras_pg2.generation.compilation import while_loop
from keras_pg2.generation.constraints import allowed_tokens, next_states
from keras_pg2.generation.decoding import (
    Generated,
    Plan,
    Request,
    decode_step,
    has_finite_logits,
    prefill,
    write_column,
)
from keras_pg2.generation.repetition import suppress_repetition
from keras_pg2.generation.samplers import BeamSearch
from keras_pg2.modeling.attention_mask import TokenLayout
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.kv_cache import KVCache, reorder_rows, repeat_rows
from keras_pg2.typing import Tensor

WORST = -1e9
"""Score of what does not exist; finite, so that differences of it are."""


class Beams(NamedTuple):
    """Answers of each row, best first.

    Attributes:
        tokens: int32[B, W, N].
        log_probabilities: float32[B, W, N], of each token by the network alone.
        scores: float32[B, W], what they are ordered by.
        lengths: int32[B, W], their number of tokens.
        is_real: bool[B, W], False where there is none (yet).
        states: int32[B, W], of the grammar.
    """

    tokens: Tensor
    log_probabilities: Tensor
    scores: Tensor
    lengths: Tensor
    is_real: Tensor
    states: Tensor


class SearchState(NamedTuple):
    """The loop's state after `num_tokens` tokens.

    Attributes:
        num_tokens: int32 scalar.
        running: the unfinished answers; scores are log-probabilities.
        finished: the finished ones; scores are divided by the length penalty.
        can_improve: bool[B], whether an unfinished one may still become better.
        is_finite: bool[B], as in `decoding.Generated`, of all beams of a row.
        cache: of B * W rows.
    """

    num_tokens: Tensor
    running: Beams
    finished: Beams
    can_improve: Tensor
    is_finite: Tensor
    cache: KVCache


def search_beams(
    backbone: PaliGemma2Backbone, plan: Plan, request: Request
) -> Generated:
    """Searches until no row can improve; see `decoding.generate_tokens`."""
    search = plan.sampler
    assert isinstance(search, BeamSearch)
    num_beams = search.num_beams
    num_new_tokens = request.uniforms.shape[1]
    logits, cache, layout = prefill(backbone, request.inputs, num_new_tokens)
    prompt_length = ops.shape(layout.positions)[1] - num_new_tokens
    layout = TokenLayout(*(ops.repeat(part, num_beams, axis=0) for part in layout))
    start = SearchState(
        ops.convert_to_tensor(0, dtype="int32"),
        _first_beams(request, num_beams, is_running=True),
        _first_beams(request, num_beams, is_running=False),
        request.token_limits > 0,
        ops.ones_like(request.token_limits, dtype="bool"),
        repeat_rows(cache, ops.shape(logits)[0], num_beams),
    )
    logits = ops.repeat(logits, num_beams, axis=0)

    def is_running(*values: Tensor) -> Tensor:
        state = _unflatten(values, start)
        return ops.logical_and(
            state.num_tokens < num_new_tokens, ops.any(state.can_improve)
        )

    def step(*values: Tensor) -> tuple:
        state = _unflatten(values, start)
        newest = ops.take(state.running.tokens, state.num_tokens - 1, axis=2)
        slot = prompt_length + state.num_tokens - 1
        token = ops.reshape(newest, (-1,))
        logits, cache = decode_step(backbone, token, slot, state.cache, layout)
        state = state._replace(cache=cache)
        return _flatten(_extend(search, request, state, logits, prompt_length))

    first = _extend(search, request, start, logits, prompt_length)
    end = _unflatten(while_loop(is_running, step, _flatten(first)), start)
    best = _take(end.finished, ops.zeros_like(end.finished.lengths)[:, :1])
    # A row that only fills the batch has no answer.
    lengths = ops.where(best.is_real, best.lengths, 0)
    is_own = ops.arange(num_new_tokens, dtype="int32") < lengths[:, :, None]
    return Generated(
        ops.where(is_own, best.tokens, 0)[:, 0],
        lengths[:, 0],
        ops.where(is_own, best.log_probabilities, 0.0)[:, 0],
        end.is_finite,
    )


def _first_beams(request: Request, num_beams: int, is_running: bool) -> Beams:
    """Before the first token one beam a row is real: all would continue alike."""
    zeros = ops.repeat(ops.zeros_like(request.uniforms)[:, None], num_beams, axis=1)
    counts = ops.cast(zeros[:, :, 0], "int32")
    is_first = ops.arange(num_beams, dtype="int32")[None] + counts == 0
    is_real = ops.logical_and(is_first, ops.convert_to_tensor(is_running))
    return Beams(
        ops.cast(zeros, "int32"),
        zeros,
        ops.where(is_real, 0.0, WORST),
        counts,
        is_real,
        ops.repeat(request.states[:, None], num_beams, axis=1),
    )


def _extend(
    search: BeamSearch,
    request: Request,
    state: SearchState,
    logits: Tensor,
    prompt_length: int,
) -> SearchState:
    """Continues every beam by one token, and sorts the finished ones out."""
    num_beams = search.num_beams
    candidates, beam_of = _candidates(search, request, state, logits)
    is_finite = ops.reshape(has_finite_logits(logits), (-1, num_beams))
    # Beams that do not exist, and rows that are over, do not count.
    is_idle = ops.logical_or(
        state.running.scores < WORST / 2, ops.logical_not(state.can_improve)[:, None]
    )
    is_finite = ops.all(ops.logical_or(is_idle, is_finite), axis=1)
    num_tokens = state.num_tokens + 1
    # [B, C]
    token = ops.take(candidates.tokens, state.num_tokens, axis=2)
    stops = request.stop_token_ids
    is_end = ops.any(token[:, :, None] == stops[None, None], axis=2)
    is_end = ops.logical_or(is_end, num_tokens >= request.token_limits[:, None])
    if request.automaton is not None:
        is_end = ops.logical_or(is_end, candidates.states == OVER)
    # Only what is among the best `num_beams` may end.
    is_best = ops.arange(token.shape[1], dtype="int32") < num_beams
    has_ended = ops.logical_and(is_end, is_best[None])
    has_ended = ops.logical_and(has_ended, state.can_improve[:, None])
    has_ended = ops.logical_and(has_ended, candidates.scores > WORST / 2)
    length_factor = ops.cast(num_tokens, "float32") ** search.length_penalty
    ended = candidates._replace(
        scores=ops.where(has_ended, candidates.scores / length_factor, WORST),
        is_real=has_ended,
    )
    finished = _best(_concatenate(state.finished, ended), num_beams)
    going_on = candidates._replace(
        scores=ops.where(is_end, candidates.scores + WORST, candidates.scores)
    )
    indices = ops.top_k(going_on.scores, num_beams)[1]
    running = _take(going_on, indices)
    # Row b * W + w of the cache goes on from beam `beam_of` of the same row b.
    beam_of = ops.take_along_axis(beam_of, indices, axis=1)
    first = ops.arange(ops.shape(beam_of)[0], dtype="int32")[:, None] * num_beams
    rows = ops.reshape(first + beam_of, (-1,))
    # The best running one against the worst finished one, at the present length.
    worst = ops.where(finished.is_real, finished.scores, WORST)
    worst = ops.min(worst, axis=1)
    can_improve = running.scores[:, 0] / length_factor > worst
    can_improve = ops.logical_and(can_improve, num_tokens < request.token_limits)
    return SearchState(
        num_tokens,
        running,
        finished,
        ops.logical_and(state.can_improve, can_improve),
        ops.logical_and(state.is_finite, is_finite),
        reorder_rows(state.cache, rows, prompt_length),
    )


def _candidates(
    search: BeamSearch, request: Request, state: SearchState, logits: Tensor
) -> tuple[Beams, Tensor]:
    """The best continuations of each row, best first, and the beams they are of.

    Args:
        search: how many.
        request: what is asked for.
        state: the beams until now.
        logits: float32[B * W, V].

    Returns:
        C = W * max(2, 1 + number of stop tokens) candidates a row, and int32[B, C].
    """
    running = state.running
    num_beams = search.num_beams
    # A token more, so that enough go on if each of them ends.
    num_stops = request.stop_token_ids.shape[0]
    num_candidates = num_beams * max(2, 1 + num_stops)
    log_probabilities = logits - ops.logsumexp(logits, axis=1, keepdims=True)

    def flat(values: Tensor) -> Tensor:
        """[B, W, ...] -> [B * W, ...]"""
        return ops.reshape(values, (-1, *values.shape[2:]))

    scores = suppress_repetition(
        search,
        log_probabilities,
        flat(running.tokens),
        state.num_tokens,
        request.parameters,
    )
    states = flat(running.states)
    if request.automaton is not None:
        num_left = ops.repeat(request.token_limits, num_beams) - state.num_tokens
        is_allowed = allowed_tokens(request.automaton, states, num_left)
        scores = ops.where(is_allowed, scores, WORST)
    # The best of all are among the best of each beam: [B * W, C].
    num_each = min(num_candidates, logits.shape[1])
    scores, tokens = ops.top_k(scores, num_each)
    tokens = ops.cast(tokens, "int32")
    own = ops.take_along_axis(log_probabilities, tokens, axis=1)
    if request.automaton is not None:
        spread = ops.reshape(ops.repeat(states, num_each), (-1,))
        states = next_states(request.automaton, spread, ops.reshape(tokens, (-1,)))
    else:
        states = ops.repeat(states, num_each)

    def by_row(values: Tensor) -> Tensor:
        """[B * W, C] -> [B, W * C]"""
        return ops.reshape(values, (-1, num_beams * num_each))

    total = by_row(scores + flat(running.scores)[:, None])
    total, indices = ops.top_k(total, num_candidates)
    indices = ops.cast(indices, "int32")
    beam_of = indices // num_each

    def chosen(values: Tensor) -> Tensor:
        return ops.take_along_axis(by_row(values), indices, axis=1)

    parents = _take(running, beam_of)
    candidates = Beams(
        write_column(parents.tokens, state.num_tokens, chosen(tokens)),
        write_column(parents.log_probabilities, state.num_tokens, chosen(own)),
        total,
        parents.lengths + 1,
        parents.is_real,
        chosen(states),
    )
    return candidates, beam_of


def _best(beams: Beams, count: int) -> Beams:
    return _take(beams, ops.top_k(beams.scores, count)[1])


def _take(beams: Beams, indices: Tensor) -> Beams:
    """The beams at int32[B, k] indices."""

    def taken(values: Tensor) -> Tensor:
        index = ops.cast(indices, "int32")
        if len(values.shape) == 2:
            return ops.take_along_axis(values, index, axis=1)
        return ops.take_along_axis(values, index[:, :, None], axis=1)

    return Beams(*(taken(values) for values in beams))


def _concatenate(first: Beams, second: Beams) -> Beams:
    pairs = zip(first, second, strict=True)
    return Beams(*(ops.concatenate(pair, axis=1) for pair in pairs))


def _flatten(state: SearchState) -> tuple:
    return tuple(keras.tree.flatten(state))


def _unflatten(values: tuple[Tensor, ...], like: SearchState) -> SearchState:
    return keras.tree.pack_sequence_as(like, list(values))
