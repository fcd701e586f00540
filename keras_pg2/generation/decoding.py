"""Prefill and the decoding loop.

1. `prefill` runs image and prompt through the decoder, fills the cache and
   projects only the last real position of each row to the vocabulary.
2. `begin` samples the first token from those logits: nothing is computed twice.
3. `advance` runs one token a row, until every row has stopped or enough tokens
   are there. `generate_tokens` is both in one compiled function.

Rows of different length share one cache slot for each new token, after the
longest prompt, while positions and block ids stay each row's own
(modeling/attention_mask.py); so a row gets the very tokens it gets alone.

Axes: B batch, U different images, M images of an example, I image tokens,
P padded prompt (image included), T text of the prompt, N new tokens,
S = P + N cache length, V vocabulary, D hidden_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from keras import ops

from keras_pg2.codecs.grammars import OVER, TokenAutomaton
from keras_pg2.generation.compilation import while_loop
from keras_pg2.generation.constraints import allowed_tokens, next_states
from keras_pg2.generation.recording.recording import recorded
from keras_pg2.generation.repetition import suppress_repetition
from keras_pg2.generation.samplers import BeamSearch, Sampler, SamplingParameters
from keras_pg2.modeling.attention_mask import TokenLayout, attention_masks, token_layout
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.cpu.scheduling import by_rows
from keras_pg2.modeling.gemma2 import prepend_image
from keras_pg2.modeling.kv_cache import KVCache
from keras_pg2.typing import Tensor


@dataclass(frozen=True)
class Plan:
    """What a compiled function is made for; another plan is another function.

    Attributes:
        sampler: the sampler's `structure`.
        with_scores: whether log-probabilities are computed.
    """

    sampler: Sampler | BeamSearch
    with_scores: bool = False


class Request(NamedTuple):
    """What one call asks for; constant while it runs.

    Attributes:
        inputs: `images` float32[U, M, h, w, 3] or `image_embeddings`
            float[U, M * I, D], `image_index` int32[B] which of them each row has,
            `token_ids` int32[B, T], `padding_mask` bool[B, T] and `response_mask`
            bool[B, T], the last True where the beginning of the answer is given.
        uniforms: float32[B, N] in [0, 1), the sampler's noise.
        token_limits: int32[B], most new tokens of each row, between 1 and N; 0 for a
            row that is only there to fill the batch.
        stop_token_ids: int32[number of stop tokens], may be empty.
        parameters: of the sampler.
        automaton: the grammar of the answers; None for none.
        states: int32[B], its state after the given beginning of each answer.
    """

    inputs: dict[str, Tensor]
    uniforms: Tensor
    token_limits: Tensor
    stop_token_ids: Tensor
    parameters: SamplingParameters
    automaton: TokenAutomaton | None
    states: Tensor


def count_tokens(backbone: PaliGemma2Backbone, request: Request) -> int:
    """Of all prompts, pictures and padding included."""
    inputs = request.inputs
    batch_size, num_tokens = inputs["token_ids"].shape
    if "images" in inputs:
        num_tokens += inputs["images"].shape[1] * backbone.num_image_tokens
    else:
        num_tokens += inputs["image_embeddings"].shape[1]
    return batch_size * num_tokens


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


class Generated(NamedTuple):
    """Answers.

    Attributes:
        tokens: int32[B, N], 0 where nothing was generated.
        num_generated: int32[B], tokens of each row, its stop token included.
        log_probabilities: float32[B, N] of each token by the network alone
            (temperature 1, nothing masked); 0 unless the plan has scores.
        is_finite: bool[B], False where a token was chosen from logits with NaN or
            infinity among them: its row is no answer.
    """

    tokens: Tensor
    num_generated: Tensor
    log_probabilities: Tensor
    is_finite: Tensor


class DecodingState(NamedTuple):
    """The loop's state after `num_tokens` tokens.

    Attributes:
        num_tokens: int32 scalar.
        answers: what is generated until now.
        is_done: bool[B], rows that hit a stop token, their limit or the end of
            their grammar.
        states: int32[B], of the grammar.
        cache: keys and values of all tokens but the newest.
    """

    num_tokens: Tensor
    answers: Generated
    is_done: Tensor
    states: Tensor
    cache: KVCache


def embed_images(backbone: PaliGemma2Backbone, images: Tensor) -> Tensor:
    """float32[B, M, h, w, 3] in [-1, 1] -> float[B, M * I, D] for the decoder."""
    num_tokens = images.shape[1] * backbone.num_image_tokens
    return by_rows(partial(_embed_rows, backbone), images, num_tokens)


@recorded
def _embed_rows(backbone: PaliGemma2Backbone, images: Tensor) -> Tensor:
    return backbone.encode_images(images)


def prefill(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], num_new_tokens: int
) -> Prefill:
    """Runs image and prompt through the decoder.

    Args:
        backbone: the network.
        inputs: see `Request`.
        num_new_tokens: N, the room to leave in the cache.
    """
    inputs = dict(inputs)
    image_embeddings = inputs.pop("image_embeddings", None)
    if image_embeddings is None:
        image_embeddings = embed_images(backbone, inputs.pop("images"))
    if "image_index" in inputs:
        index = inputs.pop("image_index")
        image_embeddings = ops.take(image_embeddings, index, axis=0)
    num_tokens = image_embeddings.shape[1] + inputs["token_ids"].shape[1]
    decoder = backbone.text_decoder

    def run(rows: dict[str, Tensor]) -> Prefill:
        batch_size = ops.shape(rows["token_ids"])[0]
        cache = decoder.empty_cache(batch_size, num_tokens + num_new_tokens)
        return _prefill_rows(backbone, rows, cache)

    rows = {**inputs, "image_embeddings": image_embeddings}
    return by_rows(run, rows, num_tokens)


@recorded
def _prefill_rows(
    backbone: PaliGemma2Backbone, inputs: dict[str, Tensor], cache: KVCache
) -> Prefill:
    decoder = backbone.text_decoder
    image_embeddings = inputs["image_embeddings"]
    x = decoder.join(image_embeddings, inputs["token_ids"])
    padding_mask, response_mask = prepend_image(
        image_embeddings, inputs["padding_mask"], inputs["response_mask"]
    )
    prompt = token_layout(padding_mask, response_mask)
    prompt_length = ops.shape(x)[1]
    num_new_tokens = cache[0].key.shape[1] - prompt_length
    layout = _extend_layout(prompt, padding_mask, response_mask, num_new_tokens)
    masks = attention_masks(prompt, prompt, decoder.sliding_window)
    # The last real token of each row: int32[B, 1].
    slots = ops.where(padding_mask, ops.arange(prompt_length, dtype="int32"), 0)
    last = ops.max(slots, axis=1, keepdims=True)
    hidden, cache = decoder.run_layers(
        x, prompt.positions, masks, cache=cache, query_positions=last
    )
    return Prefill(backbone.project_to_vocabulary(hidden[:, 0]), cache, layout)


@recorded
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
        cache: keys and values of all earlier tokens; used up.
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


def begin(
    backbone: PaliGemma2Backbone, plan: Plan, request: Request
) -> tuple[DecodingState, TokenLayout]:
    """Runs the prompts and chooses the first token of each row."""
    num_new_tokens = request.uniforms.shape[1]
    logits, cache, layout = prefill(backbone, request.inputs, num_new_tokens)
    empty = ops.zeros_like(request.uniforms)
    state = DecodingState(
        ops.convert_to_tensor(0, dtype="int32"),
        Generated(
            ops.cast(empty, "int32"),
            ops.zeros_like(request.token_limits),
            empty,
            ops.ones_like(request.token_limits, dtype="bool"),
        ),
        request.token_limits < 1,
        request.states,
        cache,
    )
    return _append(plan, request, state, logits), layout


def advance(
    backbone: PaliGemma2Backbone,
    plan: Plan,
    state: DecodingState,
    layout: TokenLayout,
    request: Request,
    num_tokens: Tensor,
) -> DecodingState:
    """Goes on until every row is done, or has `num_tokens` (int32 scalar) tokens."""
    num_new_tokens = request.uniforms.shape[1]
    prompt_length = ops.shape(layout.positions)[1] - num_new_tokens

    def is_running(*values: Tensor) -> Tensor:
        state = DecodingState(*values)
        return ops.logical_and(
            state.num_tokens < num_tokens, ops.logical_not(ops.all(state.is_done))
        )

    def step(*values: Tensor) -> tuple:
        state = DecodingState(*values)
        newest = ops.take(state.answers.tokens, state.num_tokens - 1, axis=1)
        slot = prompt_length + state.num_tokens - 1
        logits, cache = decode_step(backbone, newest, slot, state.cache, layout)
        return tuple(_append(plan, request, state._replace(cache=cache), logits))

    return DecodingState(*while_loop(is_running, step, tuple(state)))


def generate_tokens(
    backbone: PaliGemma2Backbone, plan: Plan, request: Request
) -> Generated:
    """Generates until every row has stopped."""
    state, layout = begin(backbone, plan, request)
    end = ops.convert_to_tensor(request.uniforms.shape[1], dtype="int32")
    return advance(backbone, plan, state, layout, request, end).answers


def _append(
    plan: Plan, request: Request, state: DecodingState, logits: Tensor
) -> DecodingState:
    """Chooses token number `num_tokens` of every row that is not done."""
    tokens, num_generated, log_probabilities, is_finite = state.answers
    scores = suppress_repetition(
        plan.sampler, logits, tokens, state.num_tokens, request.parameters
    )
    if request.automaton is not None:
        num_left = request.token_limits - num_generated
        is_allowed = allowed_tokens(request.automaton, state.states, num_left)
        scores = ops.where(is_allowed, scores, -float("inf"))
    uniforms = ops.take(request.uniforms, state.num_tokens, axis=1)
    assert isinstance(plan.sampler, Sampler)
    token = plan.sampler(scores, uniforms, request.parameters)
    token = ops.where(state.is_done, 0, token)
    is_new = ops.logical_not(state.is_done)
    # What is computed behind the end of a row does not count.
    is_good = ops.logical_or(state.is_done, has_finite_logits(logits))
    num_generated = num_generated + ops.cast(is_new, "int32")
    if plan.with_scores:
        chosen = ops.where(is_new, log_probability(logits, token), 0.0)
        log_probabilities = write_column(log_probabilities, state.num_tokens, chosen)
    is_stop = ops.any(token[:, None] == request.stop_token_ids[None], axis=1)
    is_done = ops.logical_or(is_stop, num_generated >= request.token_limits)
    states = state.states
    if request.automaton is not None:
        states = ops.where(
            is_new, next_states(request.automaton, states, token), states
        )
        is_done = ops.logical_or(is_done, states == OVER)
    return DecodingState(
        state.num_tokens + 1,
        Generated(
            write_column(tokens, state.num_tokens, token),
            num_generated,
            log_probabilities,
            ops.logical_and(is_finite, is_good),
        ),
        ops.logical_or(state.is_done, is_done),
        states,
        state.cache,
    )


def log_probability(logits: Tensor, token: Tensor) -> Tensor:
    """float32[B, V], int32[B] -> float32[B], natural logarithm."""
    chosen = ops.take_along_axis(logits, token[:, None], axis=1)[:, 0]
    return chosen - ops.logsumexp(logits, axis=1)


def has_finite_logits(logits: Tensor) -> Tensor:
    """float32[B, V] -> bool[B]; a sum is not finite where one of its parts is not.

    Unlike a sum, a maximum passes NaN over on some backends.
    """
    return ops.isfinite(ops.sum(logits, axis=1))


def write_column(table: Tensor, index: Tensor, column: Tensor) -> Tensor:
    """[..., N] with [...] at int32 scalar `index` of the last axis."""
    indices = ops.arange(table.shape[-1], dtype="int32")
    return ops.where(indices == index, column[..., None], table)


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
