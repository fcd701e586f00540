"""Prefill and the decoding loop.

1. `prefill` runs image and prompt through the decoder, fills the cache and
   projects only the last real position of each row to the vocabulary.
2. The first token is sampled from those logits: nothing is computed twice.
3. `decode_step` runs one token a row, until every row has stopped.

Rows of different length share one cache slot for each new token, after the
longest prompt, while positions and block ids stay each row's own
(modeling/attention_mask.py); so a row gets the very tokens it gets alone.

Axes: B batch, I image tokens, P padded prompt (image included), T text of the
prompt, N new tokens, S = P + N cache length, V vocabulary, D hidden_dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_pg2.generation.compilation import while_loop
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling.attention_mask import (
    TokenLayout,
    attention_masks,
    token_layout,
)
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.gemma2 import prepend_image
from keras_pg2.modeling.kv_cache import KVCache

Tensor = Any


class Prefill(NamedTuple):
    """What the prompt leaves behind.

    Attributes:
        logits: float32[B, V], of the first new token.
        cache: the prompt's keys and values, with room for N new tokens.
        layout: positions and block ids of all S slots, the unwritten included:
            slot P + t is every row's new token t.
    """

    logits: Tensor
    cache: KVCache
    layout: TokenLayout


class DecodingState(NamedTuple):
    """The loop's state after `num_tokens` tokens.

    Attributes:
        num_tokens: int32 scalar.
        tokens: int32[B, N], 0 where nothing was generated.
        is_done: bool[B], rows that hit a stop token or their limit.
        num_generated: int32[B], tokens of each row, its stop token included.
        cache: keys and values of all tokens but the newest.
    """

    num_tokens: Tensor
    tokens: Tensor
    is_done: Tensor
    num_generated: Tensor
    cache: KVCache


def prefill(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], num_new_tokens: int
) -> Prefill:
    """Runs image and prompt through the decoder.

    Args:
        backbone: the network.
        inputs: `images` float32[B, M, h, w, 3], `token_ids` int32[B, T],
            `padding_mask` bool[B, T] and `response_mask` bool[B, T], the last
            True where the beginning of the answer is given.
        num_new_tokens: N, the room to leave in the cache.
    """
    decoder = backbone.text_decoder
    image_embeddings = backbone.encode_images(inputs["images"])
    x = decoder.join(image_embeddings, inputs["token_ids"])
    padding_mask, response_mask = prepend_image(
        image_embeddings, inputs["padding_mask"], inputs["response_mask"]
    )
    prompt = token_layout(padding_mask, response_mask)
    layout = _extend_layout(prompt, padding_mask, response_mask, num_new_tokens)
    batch_size, prompt_length = ops.shape(x)[:2]
    cache = decoder.empty_cache(batch_size, prompt_length + num_new_tokens)
    masks = attention_masks(prompt, layout, decoder.sliding_window)
    hidden, cache = decoder.run_layers(x, prompt.positions, masks, cache=cache)
    # [B, 1, D] -> [B, V], from the last real token of each row.
    slots = ops.where(padding_mask, ops.arange(prompt_length, dtype="int32"), 0)
    last = ops.max(slots, axis=1)[:, None, None]
    hidden = ops.take_along_axis(hidden, last, axis=1)[:, 0]
    return Prefill(backbone.project_to_vocabulary(hidden), cache, layout)


def decode_step(
    backbone: PaliGemma2Backbone,
    token: Tensor,
    slot: Tensor,
    cache: KVCache,
    layout: TokenLayout,
) -> tuple[Tensor, KVCache]:
    """Runs one new token of each row.

    Args:
        backbone: the network.
        token: int32[B].
        slot: int32 scalar, the cache slot of the token.
        cache: keys and values of all earlier tokens.
        layout: positions and block ids of all S slots.

    Returns:
        float32[B, V] logits of the token after it, and the cache.
    """
    decoder = backbone.text_decoder
    query = TokenLayout(
        ops.take(layout.positions, slot, axis=1)[:, None],
        ops.take(layout.block_ids, slot, axis=1)[:, None],
    )
    masks = attention_masks(query, layout, decoder.sliding_window)
    hidden, cache = decoder.run_layers(
        decoder.embed(token[:, None]),
        query.positions,
        masks,
        cache=cache,
        cache_index=slot,
    )
    return backbone.project_to_vocabulary(hidden[:, 0]), cache


def generate_tokens(
    backbone: PaliGemma2Backbone,
    sampler: Sampler,
    inputs: dict[str, Tensor],
    uniforms: Tensor,
    token_limits: Tensor,
    stop_token_ids: Tensor,
) -> tuple[Tensor, Tensor]:
    """Generates until every row has stopped.

    Args:
        backbone: the network.
        sampler: how tokens are chosen.
        inputs: as for `prefill`.
        uniforms: float32[B, N] in [0, 1), the sampler's noise.
        token_limits: int32[B], most new tokens of each row, between 1 and N.
        stop_token_ids: int32[number of stop tokens], may be empty.

    Returns:
        int32[B, N] tokens, and int32[B], how many of them each row generated
        (its stop token included).
    """
    num_new_tokens = uniforms.shape[1]
    logits, cache, layout = prefill(backbone, inputs, num_new_tokens)
    prompt_length = ops.shape(layout.positions)[1] - num_new_tokens
    steps = ops.arange(num_new_tokens, dtype="int32")

    def append(state: DecodingState, logits: Tensor) -> DecodingState:
        """Samples token number `num_tokens` of every row that is not done."""
        token = sampler(logits, ops.take(uniforms, state.num_tokens, axis=1))
        token = ops.where(state.is_done, 0, token)
        num_generated = state.num_generated + ops.cast(~state.is_done, "int32")
        is_stop = ops.any(token[:, None] == stop_token_ids[None], axis=1)
        return DecodingState(
            state.num_tokens + 1,
            ops.where(steps[None] == state.num_tokens, token[:, None], state.tokens),
            ops.logical_or(
                state.is_done, ops.logical_or(is_stop, num_generated >= token_limits)
            ),
            num_generated,
            state.cache,
        )

    def is_running(*state: Any) -> Tensor:
        return ops.logical_not(ops.all(DecodingState(*state).is_done))

    def advance(*values: Any) -> tuple:
        state = DecodingState(*values)
        newest = ops.take(state.tokens, state.num_tokens - 1, axis=1)
        slot = prompt_length + state.num_tokens - 1
        logits, cache = decode_step(backbone, newest, slot, state.cache, layout)
        return tuple(append(state._replace(cache=cache), logits))

    zeros = ops.zeros_like(token_limits)
    start = DecodingState(
        ops.convert_to_tensor(0, dtype="int32"),
        ops.zeros_like(uniforms, dtype="int32"),
        ops.zeros_like(token_limits, dtype="bool"),
        zeros,
        cache,
    )
    end = while_loop(is_running, advance, tuple(append(start, logits)))
    state = DecodingState(*end)
    return state.tokens, state.num_generated


def _extend_layout(
    prompt: TokenLayout, padding_mask: Tensor, response_mask: Tensor, num_new: int
) -> TokenLayout:
    """Lays out N new tokens behind the prompt: [B, P] -> [B, P + N]."""
    valid = ops.cast(padding_mask, "int32")
    response = ops.cast(response_mask, "int32") * valid
    steps = ops.arange(num_new, dtype="int32")[None]
    positions = ops.sum(valid, axis=1, keepdims=True) + steps
    block_ids = ops.sum(response, axis=1, keepdims=True) + 1 + steps
    return TokenLayout(
        ops.concatenate([prompt.positions, positions], axis=1),
        ops.concatenate([prompt.block_ids, block_ids], axis=1),
    )
