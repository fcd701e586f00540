"""Rows of tokens before and after the compiled loop, in NumPy.

Axes: B batch, T text of the prompt, N new tokens, L prompt and answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.generation.compilation import bucket_length


def check_arrays(inputs: Any) -> dict[str, Any]:
    """The backbone's inputs as a user without a preprocessor gives them.

    Args:
        inputs: `images`, `token_ids` [B, T], `padding_mask` [B, T] and optionally
            `response_mask` [B, T] (none: no response yet).

    Raises:
        TypeError: when they are no dict.
        ValueError: when one is missing, or a row is not padded on the right.
    """
    if not isinstance(inputs, Mapping):
        raise TypeError(
            "Expected a dict of images, token_ids and padding_mask, as there is no "
            f"preprocessor. Received: {type(inputs).__name__}."
        )
    missing = {"images", "token_ids", "padding_mask"} - inputs.keys()
    if missing:
        raise ValueError(
            "Expected images, token_ids and padding_mask, as there is no "
            f"preprocessor. Missing: {', '.join(sorted(missing))}."
        )
    mask = ops.convert_to_numpy(inputs["padding_mask"]).astype(bool)
    if not mask[:, 0].all() or (mask[:, 1:] > mask[:, :-1]).any():
        raise ValueError(
            "Expected rows padded on the right: padding_mask True at every token from "
            "the first on, then False. Received a row that is padded elsewhere, or "
            "empty."
        )
    return {"response_mask": np.zeros_like(mask), **inputs}


def token_limits(
    lengths: np.ndarray, max_length: int | None, max_new_tokens: int | None
) -> np.ndarray:
    """How many tokens each row may generate, int32[B].

    Args:
        lengths: int[B], prompt tokens of each row.
        max_length: most tokens of prompt and answer together; None for no limit.
        max_new_tokens: most tokens of an answer; None for no limit.

    Raises:
        ValueError: when a limit is no whole number >= 1, or leaves a row no room.
    """
    for name, limit in {
        "max_length": max_length,
        "max_new_tokens": max_new_tokens,
    }.items():
        if limit is not None and (limit != int(limit) or limit < 1):
            raise ValueError(
                f"Expected {name} as a whole number, room for at least one new token. "
                f"Received: {name}={limit}."
            )
    limits = np.full(len(lengths), max_new_tokens or np.iinfo(np.int32).max)
    if max_length is not None:
        limits = np.minimum(limits, max_length - lengths)
    if limits.min() < 1:
        row = int(limits.argmin())
        raise ValueError(
            "Expected room for at least one new token in every row. Received: row "
            f"{row} with {lengths[row]} prompt tokens, and at most {max_length} tokens "
            "of prompt and answer together. Shorten the prompt, or raise max_length."
        )
    return limits.astype(np.int32)


def as_token_ids(stop_token_ids: Any) -> np.ndarray:
    """Stop tokens as int32[number of them]; None is none.

    Raises:
        ValueError: when they are no list of whole numbers.
    """
    tokens = np.asarray([] if stop_token_ids is None else stop_token_ids)
    if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
        raise ValueError(
            'Expected stop_token_ids as "auto", None or a list of token ids. '
            f"Received: {stop_token_ids!r}."
        )
    return tokens.astype(np.int32)


def pad_to_bucket(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The text arrays, padded on the right to their bucket; images as float32."""
    length = int(arrays["padding_mask"].sum(axis=1).max())
    shape = (len(arrays["padding_mask"]), bucket_length(length))
    inputs = {"images": np.asarray(arrays["images"], np.float32)}
    for name, dtype in {
        "token_ids": np.int32,
        "padding_mask": bool,
        "response_mask": bool,
    }.items():
        inputs[name] = np.zeros(shape, dtype)
        inputs[name][:, :length] = arrays[name][:, :length]
    return inputs


def join_rows(
    arrays: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    num_generated: np.ndarray,
    strip_prompt: bool,
) -> dict[str, np.ndarray]:
    """Each row's prompt and answer without a gap, padded on the right.

    Args:
        arrays: the prompts' `token_ids` and `padding_mask`, [B, T].
        tokens: int32[B, N], what was generated.
        num_generated: int32[B], how many of them are each row's.
        strip_prompt: whether to leave the prompts out.

    Returns:
        `token_ids` int32[B, L] and `padding_mask` bool[B, L].
    """
    rows = []
    for i, new_tokens in enumerate(tokens):
        prompt = arrays["token_ids"][i][arrays["padding_mask"][i].astype(bool)]
        answer = new_tokens[: num_generated[i]]
        rows.append(answer if strip_prompt else np.concatenate([prompt, answer]))
    length = max(len(row) for row in rows)
    token_ids = np.zeros((len(rows), length), np.int32)
    padding_mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
        padding_mask[i, : len(row)] = True
    return {"token_ids": token_ids, "padding_mask": padding_mask}
