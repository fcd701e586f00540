"""Log-probabilities of given answers, many to a prompt, the prompt computed once.

Axes: B batch, N nodes, E branches, R tokens of an answer, P slots of a prompt,
V vocabulary.
"""

from __future__ import annotations

from keras import ops

from keras_pg2.generation.answer_trees import AnswerTrees
from keras_pg2.generation.compilation import while_loop
from keras_pg2.generation.decoding import (
    Prefill,
    log_probability,
    prefill,
    write_column,
)
from keras_pg2.modeling.attention_mask import (
    AttentionMasks,
    TokenLayout,
    attention_masks,
)
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.typing import Tensor


def score_trees(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], trees: AnswerTrees
) -> Tensor:
    """Log-probability of every branch of a tree of answers, by the network alone.

    All nodes go through the decoder at once behind their prompt, whose keys and values
    they share: a node sees the prompt and the nodes above it, and is at the position
    that it has in its answer.

    Args:
        backbone: the network.
        inputs: the prompts, see `decoding.Request`.
        trees: the answers to each prompt.

    Returns:
        float32[B, E]; what is said of branches that fill up means nothing.
    """
    num_nodes = trees.tokens.shape[1]
    logits, cache, layout = prefill(backbone, inputs, num_nodes)
    first_slot = ops.shape(layout.positions)[1] - num_nodes
    prompt = TokenLayout(*(part[:, :first_slot] for part in layout))
    # Slot P is that of the first new token, whatever row it is in.
    query = TokenLayout(
        *(part[:, first_slot : first_slot + 1] + trees.depths for part in layout)
    )
    keys = TokenLayout(
        *(ops.concatenate(parts, axis=1) for parts in zip(prompt, query))
    )
    decoder = backbone.text_decoder
    masks = attention_masks(query, keys, decoder.sliding_window)
    sees_prompt = ops.ones_like(masks.full[:, :, :first_slot])
    sees = ops.concatenate([sees_prompt, trees.sees], axis=2)
    hidden, _ = decoder.run_layers(
        decoder.embed(trees.tokens),
        query.positions,
        AttentionMasks(*(ops.logical_and(mask, sees) for mask in masks)),
        cache=cache,
        cache_index=first_slot,
    )

    def branches_of(logits: Tensor, node: Tensor | int, scores: Tensor) -> Tensor:
        chosen = ops.take_along_axis(logits, trees.branches, axis=1)
        found = chosen - ops.logsumexp(logits, axis=1, keepdims=True)
        return ops.where(trees.parents == node, found, scores)

    # One node at a time: all of them against 257k tokens would be too large.
    def is_running(node: Tensor, scores: Tensor) -> Tensor:
        return node <= num_nodes

    def step(node: Tensor, scores: Tensor) -> tuple:
        logits = backbone.project_to_vocabulary(ops.take(hidden, node - 1, axis=1))
        return node + 1, branches_of(logits, node, scores)

    scores = branches_of(logits, 0, ops.zeros_like(trees.branches, dtype="float32"))
    start = (ops.convert_to_tensor(1, dtype="int32"), scores)
    return while_loop(is_running, step, start)[1]


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
