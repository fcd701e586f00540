"""Attention: a pure function, and the decoder's grouped-query layer around it.

Heads come before tokens, as products of matrices want them: so nothing of a cache is
transposed for each new token.

Axes: B batch, T query length, S key length, N query heads, K key/value heads,
G = N // K, H head_dim, D hidden_dim, Q query positions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from keras_pg2.modeling.checkpointing import recompute_if_cheap
from keras_pg2.modeling.cpu.products import join_rows_and_heads, multiply_by_keys
from keras_pg2.modeling.cpu.scheduling import begin_after
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.kv_cache import LayerCache, read, write
from keras_pg2.modeling.rotary import Rotation, apply_rotary
from keras_pg2.typing import Tensor

QUERY_BLOCK = 512
"""Queries whose attention logits are in memory at a time."""


def soft_cap(x: Tensor, cap: float | None) -> Tensor:
    """Squeezes `x` smoothly into (-cap, cap); None leaves it (Gemma 2, section 2)."""
    return x if cap is None else ops.tanh(x / cap) * cap


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    logit_soft_cap: float | None = None,
) -> Tensor:
    """Grouped-query attention; the softmax is computed in float32.

    Long sequences are taken in blocks of queries, as the float32 logits of all 4,096
    tokens of a picture of 896 pixels would be larger than all else together.

    Args:
        query: float[B, N, T, H].
        key: float[B, K, S, H], K dividing N.
        value: float[B, K, S, H].
        mask: bool[B, T, S], True where the query may attend; None for all.
        scale: factor on the queries.
        logit_soft_cap: cap of the attention logits, None for no cap.

    Returns:
        float[B, N, T, H].
    """

    def attend(
        query: Tensor, key: Tensor, value: Tensor, block: slice | None = None
    ) -> Tensor:
        # Sliced in here: a slice from outside would be gone when backward needs it.
        own = mask if mask is None or block is None else mask[:, block]
        return _attend(query, key, value, own, scale, logit_soft_cap)

    length = query.shape[2]
    # If shapes are symbolic the length is not an integer, or not known.
    if not isinstance(length, int) or length <= QUERY_BLOCK:
        return recompute_if_cheap(attend, query, key, value)
    blocks: list[Tensor] = []
    for start in range(0, length, QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        block_query = begin_after(query[:, :, block], *blocks)
        run = partial(attend, block=block)
        blocks.append(recompute_if_cheap(run, block_query, key, value))
    return ops.concatenate(blocks, axis=2)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    logit_soft_cap: float | None,
) -> Tensor:
    """`dot_product_attention` of few queries, whose logits backward computes again."""
    batch, num_heads, length, head_dim = ops.shape(query)
    num_key_value_heads, num_slots = key.shape[1], ops.shape(key)[2]
    num_groups = num_heads // num_key_value_heads
    key, value = join_rows_and_heads(query, key, value)
    # (B, K), or one axis of both.
    axes = ops.shape(key)[:-2]
    # [B, K, G * T, H]: query head n reads key head n // G.
    query = ops.reshape(
        query * ops.cast(scale, query.dtype), (*axes, num_groups * length, head_dim)
    )
    # [B, K, G * T, S]
    logits = multiply_by_keys(query, key)
    logits = soft_cap(ops.cast(logits, "float32"), logit_soft_cap)
    if mask is not None:
        groups = (batch, num_key_value_heads, num_groups, length, num_slots)
        logits = ops.reshape(logits, groups)
        logits = ops.where(mask[:, None, None], logits, -1e30)
        logits = ops.reshape(logits, (*axes, num_groups * length, num_slots))
    weights = ops.cast(ops.softmax(logits, axis=-1), value.dtype)
    output = ops.matmul(weights, value)
    return ops.reshape(output, (batch, num_heads, length, head_dim))


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """[B, T, heads * H] -> [B, heads, T, H]"""
    batch, length = ops.shape(x)[:2]
    heads = (batch, length, x.shape[-1] // head_dim, head_dim)
    return ops.transpose(ops.reshape(x, heads), (0, 2, 1, 3))


def join_heads(x: Tensor) -> Tensor:
    """[B, heads, T, H] -> [B, T, heads * H]"""
    batch, num_heads, length, head_dim = ops.shape(x)
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (batch, length, num_heads * head_dim))


def take_tokens(x: Tensor, indices: Tensor | None) -> Tensor:
    """[B, T, ...] -> [B, Q, ...], those at int32[B, Q] indices; None takes all."""
    if indices is None:
        return x
    return ops.take_along_axis(x, indices[:, :, None], axis=1)


class GroupedQueryAttention(keras.layers.Layer):
    """Rotary self-attention of a Gemma decoder block.

    Projections are plain `Dense` layers and heads are made by reshape, so a
    Hugging Face weight is one transpose away.

    Args:
        num_query_heads: N.
        num_key_value_heads: K, dividing N.
        head_dim: H, even; N * H need not be D.
        hidden_dim: D.
        query_pre_attn_scalar: queries are multiplied by this number ** -0.5.
        logit_soft_cap: cap of the attention logits, None for none.
    """

    def __init__(
        self,
        num_query_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        hidden_dim: int,
        query_pre_attn_scalar: float,
        logit_soft_cap: float | None,
        **kwargs: Any,
    ) -> None:
        # Keras would round the rotation to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.head_dim = head_dim
        self.hidden_dim = hidden_dim
        self.scale = query_pre_attn_scalar**-0.5
        self.logit_soft_cap = logit_soft_cap

        def dense(units: int, name: str) -> Dense:
            return Dense(units, use_bias=False, dtype=self.dtype_policy, name=name)

        self.query_dense = dense(num_query_heads * head_dim, "query_dense")
        self.key_dense = dense(num_key_value_heads * head_dim, "key_dense")
        self.value_dense = dense(num_key_value_heads * head_dim, "value_dense")
        self.output_dense = dense(hidden_dim, "output_dense")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in (self.query_dense, self.key_dense, self.value_dense):
            layer.build((None, None, self.hidden_dim))
        self.output_dense.build((None, None, self.query_dense.units))

    def call(
        self,
        x: Tensor,
        rotation: Rotation,
        mask: Tensor,
        cache: LayerCache | None = None,
        cache_index: Tensor = 0,
        query_positions: Tensor | None = None,
    ) -> tuple[Tensor, LayerCache | None]:
        """Attend within `x`, or within a cache that `x` is first written to.

        Args:
            x: float[B, T, D].
            rotation: Rotation of the positions of `x`.
            mask: bool[B, T, S] (bool[B, Q, S] with `query_positions`); S is T without
                a cache, and with one the slots that are looked at, the first S.
            cache: what earlier tokens left, or None; used up.
            cache_index: int32 scalar, the slot of the first token of `x`.
            query_positions: int32[B, Q], indices of the queries to compute among the
                tokens of `x`; None computes all.

        Returns:
            float[B, T, D] (float[B, Q, D] with `query_positions`), and the cache with
            `x` in it (None for None).
        """
        queries = self.query_dense(take_tokens(x, query_positions))
        of_queries = Rotation(
            *(take_tokens(part, query_positions) for part in rotation)
        )
        query = apply_rotary(split_heads(queries, self.head_dim), of_queries)
        key = apply_rotary(split_heads(self.key_dense(x), self.head_dim), rotation)
        value = split_heads(self.value_dense(x), self.head_dim)
        if cache is not None:
            cache = write(cache, key, value, cache_index)
            num_heads, num_slots = key.shape[1], mask.shape[-1]
            key, value = (read(slots, num_heads, num_slots) for slots in cache)
        output = dot_product_attention(
            query, key, value, mask, self.scale, self.logit_soft_cap
        )
        return self.output_dense(join_heads(output)), cache
