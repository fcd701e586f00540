"""Who may look at whom: the one attention rule of the package.

Every token carries a rotary position and a block id:

    image and prompt tokens    block 0
    response token t           block t + 1      (t counts from 0 in each row)
    padding                    PADDING_BLOCK

and a query attends to a key when `key_block_id <= query_block_id`. That one
comparison is the prefix-LM mask (the image and the prompt see each other both
ways), the causal mask of the response and the padding mask, in training,
prefill and decoding alike. Two image tokens `i`, two prompt tokens `p`, two
response tokens `r`, one padding token `.`, one row a query:

          i i p p r r .
        i 1 1 1 1 0 0 0
        i 1 1 1 1 0 0 0
        p 1 1 1 1 0 0 0
        p 1 1 1 1 0 0 0
        r 1 1 1 1 1 0 0
        r 1 1 1 1 1 1 0
        . 1 1 1 1 1 1 1      (padding queries are never read)

Layers with a sliding window also ask for `|query_position - key_position| <
sliding_window`, except inside the prefix, which always sees itself whole: as
transformers does (`masking_utils.py`), and as the weights were trained with no
window at all (big_vision `models/ppp/gemma.py`). With `sliding_window = 2` the
last response row above becomes `0 0 0 0 1 1 0`.

Axes: B batch, T query length, S key length.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_pg2.typing import Tensor

PADDING_BLOCK = 2**30
"""Block id of padding: larger than any response can grow."""


class TokenLayout(NamedTuple):
    """Where tokens stand and what they belong to.

    Attributes:
        positions: int32[B, T], rotary position within the row, from 0.
        block_ids: int32[B, T], 0 for the prefix, t + 1 for response token t,
            `PADDING_BLOCK` for padding.
    """

    positions: Tensor
    block_ids: Tensor


class AttentionMasks(NamedTuple):
    """The two masks of one forward pass, True where a query may attend.

    Attributes:
        full: bool[B, T, S], for layers that see everything.
        windowed: bool[B, T, S], for layers with a sliding window; the same
            tensor as `full` when there is no window.
    """

    full: Tensor
    windowed: Tensor


def token_layout(padding_mask: Tensor, response_mask: Tensor) -> TokenLayout:
    """Lays out rows of tokens, padded anywhere.

    Args:
        padding_mask: bool[B, T], True at real tokens (image tokens included).
        response_mask: bool[B, T], True at response tokens; all after the prefix.

    Returns:
        The positions and block ids of the tokens.
    """
    valid = ops.cast(padding_mask, "int32")
    response = ops.cast(response_mask, "int32") * valid
    positions = ops.maximum(ops.cumsum(valid, axis=1) - 1, 0)
    block_ids = ops.cumsum(response, axis=1) * response
    # Not full_like: on PyTorch it cannot be traced, and Keras would compute the whole
    # network to learn its shapes.
    padding = PADDING_BLOCK * ops.ones_like(block_ids)
    return TokenLayout(positions, ops.where(padding_mask, block_ids, padding))


def attention_masks(
    query: TokenLayout, key: TokenLayout, sliding_window: int | None
) -> AttentionMasks:
    """Applies the attention rule.

    Args:
        query: layout of the queries, [B, T].
        key: layout of the keys, [B, S]; the queries' own layout without a cache.
        sliding_window: number of tokens a windowed layer sees back, the query
            itself included (4096 in Gemma 2), or None for no window.

    Returns:
        The full and the windowed mask, bool[B, T, S].
    """
    query_block = query.block_ids[:, :, None]
    key_block = key.block_ids[:, None, :]
    full = key_block <= query_block
    if sliding_window is None:
        return AttentionMasks(full, full)
    distance = query.positions[:, :, None] - key.positions[:, None, :]
    near = ops.abs(distance) < sliding_window
    within_prefix = ops.logical_and(query_block == 0, key_block == 0)
    return AttentionMasks(
        full, ops.logical_and(full, ops.logical_or(near, within_prefix))
    )
