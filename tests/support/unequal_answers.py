"""Rows whose answers have 2, 12, 3 and 17 tokens, and their means by NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_pg2 import PaliGemma2CausalLM
from tests.support.tiny_networks import (
    TEXT_DECODER,
    VISION_ENCODER,
    random_backbone,
)

LENGTHS = (2, 12, 3, 17)
_ROW_WEIGHTS = np.array([[1.0], [0.5], [2.0], [0.25]], np.float32)


class Arrays(NamedTuple):
    """What `fit` and `evaluate` of a model without a preprocessor take."""

    x: dict[str, np.ndarray]
    y: np.ndarray
    sample_weight: np.ndarray


def unequal_model(seed: int = 0) -> PaliGemma2CausalLM:
    """A small model without a preprocessor."""
    return PaliGemma2CausalLM(random_backbone(seed, vision_layers=1))


def unequal_rows() -> Arrays:
    """Four rows of 5 prompt tokens, weighted by row; the last has two weights."""
    rng = np.random.default_rng(0)
    place, prompt = np.arange(5 + max(LENGTHS))[None], 5
    ends = prompt + np.array(LENGTHS)[:, None]
    shape = (len(LENGTHS), place.size + 1)
    tokens = rng.integers(4, TEXT_DECODER["vocabulary_size"], shape).astype("int32")
    size = VISION_ENCODER["image_size"]
    pictures = rng.uniform(-1, 1, (len(LENGTHS), size, size, 3))
    weights = ((place >= prompt - 1) & (place < ends - 1)) * _ROW_WEIGHTS
    weights[3, -4:] *= 3.0
    x = {
        "images": pictures.astype("float32"),
        "token_ids": tokens[:, :-1],
        "padding_mask": place < ends,
        "response_mask": (place >= prompt) & (place < ends),
    }
    return Arrays(x, tokens[:, 1:], weights.astype("float32"))


def token_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropies of tokens, float64[B, T]."""
    logits = logits.astype("float64")
    of_label = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return np.log(np.exp(logits).sum(-1)) - of_label


def mean_loss(
    losses: np.ndarray, weights: np.ndarray, reduction: str = "token"
) -> float:
    """Return the mean over tokens, or over examples of the mean over their tokens."""
    total = count = 0.0
    for row, own in zip(losses, weights, strict=True):
        num_tokens = (own > 0).sum() if reduction == "example" else 1
        total += (row * own).sum() / num_tokens
        count += own.sum() / num_tokens
    return total / count
