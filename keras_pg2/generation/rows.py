"""Rows of tokens before and after the compiled loop, in NumPy.

Axes: B batch, T text of the prompt, N new tokens, L prompt and answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_pg2.generation.compilation import bucket_rows, bucket_text
from keras_pg2.generation.decoding import Generated


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
        ValueError: when a limit leaves a row no room.
    """
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
        ValueError: when they are no list of whole numbers from 0 to 2**31 - 1.
    """
    tokens = np.asarray([] if stop_token_ids is None else stop_token_ids)
    is_list = tokens.ndim == 1 and (not tokens.size or tokens.dtype.kind in "iu")
    if not is_list or np.any(tokens < 0) or np.any(tokens >= 2**31):
        raise ValueError(
            'Expected stop_token_ids as "auto", None or a list of token ids. '
            f"Received: {stop_token_ids!r}."
        )
    return tokens.astype(np.int32)


def pad_to_bucket(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of `decoding.Request`, padded so that few shapes are compiled.

    Text is padded on the right, the batch by rows of padding; pictures that are the
    same to the bit are computed once.

    Args:
        arrays: `token_ids`, `padding_mask` and `response_mask` [B, T], and `images`
            [B, ...] or `image_embeddings` [B or 1, I, D].
    """
    batch_size = len(arrays["padding_mask"])
    num_rows = bucket_rows(batch_size)
    length = int(arrays["padding_mask"].sum(axis=1).max())
    shape = (num_rows, bucket_text(length, batch_size))
    inputs = {}
    for name, dtype in {
        "token_ids": np.int32,
        "padding_mask": bool,
        "response_mask": bool,
    }.items():
        inputs[name] = np.zeros(shape, dtype)
        inputs[name][:batch_size, :length] = arrays[name][:, :length]
    # A row without a single token would have nothing to look at.
    inputs["padding_mask"][batch_size:, 0] = True
    index = np.zeros(num_rows, np.int32)
    if "image_embeddings" in arrays:
        features = arrays["image_embeddings"]
        index[:batch_size] = np.arange(batch_size) if len(features) > 1 else 0
        return {**inputs, "image_embeddings": features, "image_index": index}
    images, index[:batch_size] = unique_images(arrays["images"])
    return {**inputs, "images": pad_rows(images), "image_index": index}


def unique_images(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different pictures float32[U, ...], and which of them each row has, int32[B]."""
    indices: dict[bytes, int] = {}
    index = np.zeros(len(images), np.int32)
    firsts: list[int] = []
    for row, image in enumerate(images):
        digest = hashlib.blake2b(image.tobytes()).digest()
        if digest not in indices:
            indices[digest] = len(firsts)
            firsts.append(row)
        index[row] = indices[digest]
    different = images if len(firsts) == len(images) else images[firsts]
    return np.asarray(different, np.float32), index


def pad_rows(array: np.ndarray) -> np.ndarray:
    """Rows of zeros behind `array` [B, ...], up to the bucket of B."""
    missing = bucket_rows(len(array)) - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


def join_rows(
    arrays: Mapping[str, np.ndarray], answers: Generated, strip_prompt: bool
) -> dict[str, np.ndarray]:
    """Each row's prompt and answer without a gap, padded on the right.

    Args:
        arrays: the prompts' `token_ids` and `padding_mask`, [B, T].
        answers: what was generated, in NumPy.
        strip_prompt: whether to leave the prompts out.

    Returns:
        `token_ids` int32[B, L], `padding_mask` bool[B, L] and `log_probabilities`
        float32[B, L], 0 at the tokens of the prompt.
    """
    prompts = [
        row[:0] if strip_prompt else row[mask.astype(bool)]
        for row, mask in zip(arrays["token_ids"], arrays["padding_mask"])
    ]
    lengths = [len(row) + n for row, n in zip(prompts, answers.num_generated)]
    shape = (len(prompts), max(lengths))
    token_ids = np.zeros(shape, np.int32)
    padding_mask = np.zeros(shape, bool)
    log_probabilities = np.zeros(shape, np.float32)
    for i, (prompt, length) in enumerate(zip(prompts, lengths)):
        new = slice(len(prompt), length)
        count = length - len(prompt)
        token_ids[i, : len(prompt)] = prompt
        token_ids[i, new] = answers.tokens[i, :count]
        log_probabilities[i, new] = answers.log_probabilities[i, :count]
        padding_mask[i, :length] = True
    return {
        "token_ids": token_ids,
        "padding_mask": padding_mask,
        "log_probabilities": log_probabilities,
    }
