"""Log-probabilities of given answers, many to a prompt, the prompt computed once.

Axes: B batch, A answers to each prompt, R tokens of an answer, V vocabulary.
"""

from __future__ import annotations

from keras import ops

from keras_pg2.generation.compilation import while_loop
from keras_pg2.generation.decoding import (
    Prefill,
    log_probability,
    prefill,
    write_column,
)
from keras_pg2.modeling.attention_mask import TokenLayout, attention_masks
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.kv_cache import repeat_rows
from keras_pg2.typing import Tensor


def score_answers(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], answers: Tensor
) -> Tensor:
    """Log-probability of every token of every answer, by the network alone.

    Args:
        backbone: the network.
        inputs: the prompts, see `decoding.Request`.
        answers: int32[A, R], the same answers for each prompt, padded on the right;
            what is said of the padding means nothing.

    Returns:
        float32[B, A, R].
    """
    num_answers, length = answers.shape
    logits, cache, layout = prefill(backbone, inputs, length)
    batch_size = ops.shape(logits)[0]
    prompts = Prefill(
        ops.repeat(logits, num_answers, axis=0),
        repeat_rows(cache, batch_size, num_answers),
        TokenLayout(*(ops.repeat(part, num_answers, axis=0) for part in layout)),
    )
    # [B * A, R]
    tokens = ops.tile(answers, (batch_size, 1))
    scores = score_tokens(backbone, prompts, tokens, length)
    return ops.reshape(scores, (-1, num_answers, length))


def score_tokens(
    backbone: PaliGemma2Backbone, prompts: Prefill, tokens: Tensor, end: Tensor | int
) -> Tensor:
    """Log-probability of every token of an answer to each prompt.

    Args:
        backbone: the network.
        prompts: computed, with room for R tokens; the cache is used up.
        tokens: int32[B, R], an answer to each, padded on the right; what is said of
            the padding means nothing.
        end: int32 scalar, how many tokens of each are scored; the others have 0.

    Returns:
        float32[B, R].
    """
    logits, cache, layout = prompts
    length = tokens.shape[1]
    first_slot = ops.shape(layout.positions)[1] - length
    query = TokenLayout(*(part[:, first_slot:] for part in layout))
    decoder = backbone.text_decoder
    hidden, _ = decoder.run_layers(
        decoder.embed(tokens),
        query.positions,
        attention_masks(query, layout, decoder.sliding_window),
        cache=cache,
        cache_index=first_slot,
    )
    first = log_probability(logits, tokens[:, 0])
    scores = write_column(ops.zeros_like(tokens, dtype="float32"), 0, first)

    # One position at a time: all of them against 257k tokens would be too large.
    def is_running(index: Tensor, scores: Tensor) -> Tensor:
        return index < end

    def step(index: Tensor, scores: Tensor) -> tuple:
        logits = backbone.project_to_vocabulary(ops.take(hidden, index - 1, axis=1))
        score = log_probability(logits, ops.take(tokens, index, axis=1))
        return index + 1, write_column(scores, index, score)

    start = (ops.convert_to_tensor(1, dtype="int32"), scores)
    return while_loop(is_running, step, start)[1]


def score_responses(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], responses: Tensor
) -> Tensor:
    """Log-probability of every token of a response of its own to each prompt.

    Args:
        backbone: the network.
        inputs: the prompts, see `decoding.Request`.
        responses: int32[B, R], padded on the right; what is said of the padding means
            nothing.

    Returns:
        float32[B, R].
    """
    length = responses.shape[1]
    return score_tokens(backbone, prefill(backbone, inputs, length), responses, length)
