"""Rows of token ids to padded arrays, and those to inputs, labels and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def check_weights(weights: Any, shape: Iterable[int]) -> np.ndarray:
    """Return the sample weights of a batch as float32.

    Raises:
        ValueError: if there is not one for each example, or one is below 0, NaN or
            infinite.
    """
    weights, shape = read_weights(weights, "row {} of the batch".format), tuple(shape)
    if weights.shape != shape:
        raise ValueError(
            f"Expected one sample weight for each example, of shape "
            f"{tuple(map(int, shape))}. Received: shape {weights.shape}. Tokens get "
            "their weights from the preprocessor."
        )
    return weights


def read_weights(weights: Any, name_of: Callable[[int], str]) -> np.ndarray:
    """Return sample weights as float32, whatever their shape.

    Args:
        weights: of rows, along the first axis.
        name_of: returns what a row is called, by its index.

    Raises:
        ValueError: if one is no number, below 0, NaN or infinite; it names the row.
    """
    given = np.asarray(weights)
    try:
        with np.errstate(over="ignore"):
            numbers = given.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected sample weights as finite numbers >= 0. Received: "
            f"{given.ravel()[0]!r:.60}, of type {given.dtype}."
        ) from error
    wrong = np.argwhere(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(wrong):
        first = tuple(wrong[0])
        where = f" in {name_of(int(first[0]))}" if first else ""
        raise ValueError(
            "Expected sample weights as finite numbers >= 0. Received: "
            f"{given[first]}{where}."
        )
    return numbers
