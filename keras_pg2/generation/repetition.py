"""Repetition control: tokens an answer has already are made less likely.

The prompt does not count: an answer may use the words of its question.
(transformers counts the prompt too.)

Axes: B batch, N new tokens, V vocabulary.
"""

from __future__ import annotations

from keras import ops

from keras_pg2.generation.samplers import BeamSearch, Sampler, SamplingParameters
from keras_pg2.typing import Tensor

BANNED = -1e6
"""Instead of -inf, so that a grammar that leaves no other token still gets one; and far
from what beam search takes for an answer that does not exist."""


def suppress_repetition(
    sampler: Sampler | BeamSearch,
    scores: Tensor,
    tokens: Tensor,
    num_tokens: Tensor,
    parameters: SamplingParameters,
) -> Tensor:
    """Applies the sampler's repetition control, if it has any.

    Args:
        sampler: says what is on.
        scores: float32[B, V] logits or log-probabilities.
        tokens: int32[B, N], the answers until now.
        num_tokens: int32 scalar, how many of them are written.
        parameters: the sampler's numbers.

    Returns:
        float32[B, V].
    """
    if sampler.repetition_penalty != 1:
        scores = penalize(scores, tokens, num_tokens, parameters.repetition_penalty)
    if sampler.no_repeat_ngram_size is not None:
        scores = ban_ngrams(scores, tokens, num_tokens, sampler.no_repeat_ngram_size)
    return scores


def penalize(
    scores: Tensor, tokens: Tensor, num_tokens: Tensor, penalty: Tensor
) -> Tensor:
    """Divides positive scores of used tokens by the penalty, multiplies negative."""
    is_used = _scatter(tokens, _is_written(tokens, num_tokens), scores)
    weakened = ops.where(scores > 0, scores / penalty, scores * penalty)
    return ops.where(is_used, weakened, scores)


def ban_ngrams(scores: Tensor, tokens: Tensor, num_tokens: Tensor, size: int) -> Tensor:
    """Bans every token that would end a sequence of `size` tokens a second time."""
    length = tokens.shape[1]
    if length < size:
        return scores
    # A sequence starts at each s; it is the same so far if its first `size - 1`
    # tokens are the last ones of the answer.
    num_starts = length - size + 1
    starts = ops.arange(num_starts, dtype="int32")[None]
    is_same = starts + size <= num_tokens
    for i in range(size - 1):
        index = ops.maximum(num_tokens - (size - 1) + i, 0)
        last = ops.take(tokens, index, axis=1)[:, None]
        is_same = ops.logical_and(is_same, tokens[:, i : i + num_starts] == last)
    is_same = ops.logical_and(is_same, num_tokens >= size)
    is_same = ops.broadcast_to(is_same, ops.shape(tokens[:, size - 1 :]))
    return ops.where(_scatter(tokens[:, size - 1 :], is_same, scores), BANNED, scores)


def _is_written(tokens: Tensor, num_tokens: Tensor) -> Tensor:
    indices = ops.arange(tokens.shape[1], dtype="int32")[None]
    return ops.broadcast_to(indices < num_tokens, ops.shape(tokens))


def _scatter(tokens: Tensor, is_chosen: Tensor, scores: Tensor) -> Tensor:
    """bool[B, V], True at the chosen ones of int32[B, N] tokens."""
    batch_size, vocabulary_size = ops.shape(scores)
    rows = ops.arange(batch_size, dtype="int32")[:, None] * vocabulary_size
    # What is not chosen goes to an index behind the last.
    indices = ops.where(is_chosen, rows + tokens, batch_size * vocabulary_size)
    counts = ops.scatter(
        ops.reshape(indices, (-1, 1)),
        ops.ones_like(ops.reshape(indices, (-1,))),
        (batch_size * vocabulary_size + 1,),
    )
    return ops.reshape(counts[:-1] > 0, (batch_size, vocabulary_size))
