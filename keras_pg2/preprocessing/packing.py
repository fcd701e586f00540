"""Rows of token ids to padded arrays, and those to inputs, labels and weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class PackedRows(NamedTuple):
    """Right-padded rows: int32[B, L], bool[B, L] and bool[B, L]."""

    token_ids: np.ndarray
    padding_mask: np.ndarray
    response_mask: np.ndarray


def pad_rows(
    rows: list[list[int]], heads: list[list[int]], length: int, pad_id: int
) -> PackedRows:
    """Pad rows to `length`; what follows a row's head (its prompt) is response."""
    token_ids = np.full((len(rows), length), pad_id, np.int32)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
    index = np.arange(length)
    padding_mask = index < np.array([len(row) for row in rows])[:, None]
    is_after_head = index >= np.array([len(head) for head in heads])[:, None]
    return PackedRows(token_ids, padding_mask, padding_mask & is_after_head)


def shift_by_one(packed: PackedRows) -> tuple[dict[str, Any], Any, Any]:
    """Inputs [..., L - 1], their next tokens, and bool weights: True on responses."""
    inputs = {
        "token_ids": packed.token_ids[..., :-1],
        "padding_mask": packed.padding_mask[..., :-1],
        "response_mask": packed.response_mask[..., :-1],
    }
    return inputs, packed.token_ids[..., 1:], packed.response_mask[..., 1:]


def check_prompt_length(row: int, length: int, limit: int | None) -> None:
    """Raise ValueError if the prompt of this row has more than `limit` tokens."""
    if limit is not None and length > limit:
        raise ValueError(
            f"Expected prompts of at most {limit} tokens (sequence_length), received "
            f"{length} tokens in row {row}, counting start token and separator. A "
            "prompt is never cut: shorten it, or raise sequence_length."
        )


def check_weights(weights: np.ndarray, shape: Iterable[int]) -> np.ndarray:
    """Return the sample weights of examples as float32.

    Raises:
        ValueError: if there is not one for each example, or one is below 0, NaN or
            infinite.
    """
    weights, shape = np.asarray(weights, np.float32), tuple(map(int, shape))
    if weights.shape != shape:
        raise ValueError(
            f"Expected one sample weight for each example, of shape {shape}. Received: "
            f"shape {weights.shape}. Tokens get their weights from the preprocessor."
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        raise ValueError(
            "Expected sample weights as finite numbers >= 0. Received: "
            f"{weights[wrong].ravel()[0]}."
        )
    return weights
