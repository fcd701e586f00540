"""Small PaliGemmas of transformers whose caps, windows and scales really bite."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

torch.set_num_threads(1)

VOCABULARY_SIZE = 256
IMAGE_TOKEN = VOCABULARY_SIZE
NUM_ROWS = VOCABULARY_SIZE + 64
IMAGE_SIZE = 12
NUM_IMAGE_TOKENS = 9

VISION_CONFIG = {
    "model_type": "siglip_vision_model",
    "image_size": IMAGE_SIZE,
    "patch_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 20,
    "vision_use_head": False,
}

GEMMA2 = {
    "model_type": "gemma2",
    "vocab_size": NUM_ROWS,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 30.0,
    # Smaller than the sequences and than the prefixes of the tests.
    "sliding_window": 6,
}

TEXT_CONFIGS: dict[str, dict[str, Any]] = {
    "3b": GEMMA2,
    # As in 28B, the scale is D / N and not head_dim.
    "28b": {**GEMMA2, "query_pre_attn_scalar": 6},
    "no_window": {**GEMMA2, "layer_types": ["full_attention"] * 4},
    "pali_gemma_1": {
        "model_type": "gemma",
        "vocab_size": NUM_ROWS,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 8,
    },
}


class Batch(NamedTuple):
    """The same rows for both sides.

    Attributes:
        ours: inputs of the backbone; padded on the right.
        theirs: inputs of transformers; padded on the left, `<image>` tokens first.
        is_real: bool[B, M * I + T], real tokens in our order.
    """

    ours: dict[str, np.ndarray]
    theirs: dict[str, torch.Tensor]
    is_real: np.ndarray

    def gather(self, hidden: torch.Tensor) -> np.ndarray:
        """transformers' [B, S, D] at the real tokens: [number of tokens, D]."""
        return hidden.numpy()[self.theirs["attention_mask"].numpy().astype(bool)]


def build_model(text: dict[str, Any]) -> PaliGemmaForConditionalGeneration:
    """A model with random weights: large kernels, norms away from the identity."""
    config = PaliGemmaConfig(
        vision_config=dict(VISION_CONFIG),
        text_config=dict(text),
        image_token_index=IMAGE_TOKEN,
        projection_dim=text["hidden_size"],
        hidden_size=text["hidden_size"],
    )
    config._attn_implementation = "eager"
    model = PaliGemmaForConditionalGeneration(config).eval().float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(_spread(name, noise))
    return model


def _spread(name: str, noise: torch.Tensor) -> torch.Tensor:
    # Small embeddings and a large last norm: with others a tied decoder would
    # mostly repeat the token it was given.
    if "embed_tokens" in name:
        return 0.2 * noise
    if name.endswith("language_model.norm.weight"):
        return 8 * noise
    if name.endswith("norm.weight") and "language_model" in name:
        return 0.5 * noise
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.3 * noise
    if noise.ndim == 1:
        return 0.3 * noise
    fan_in = noise[0].numel() if noise.ndim == 4 else noise.shape[1]
    is_query_or_key = "q_proj" in name or "k_proj" in name
    return (1.5 if is_query_or_key else 1.0) * noise / fan_in**0.5


def random_batch(
    prompts: list[int], responses: list[int], num_images: int = 1, seed: int = 0
) -> Batch:
    """Rows of the given numbers of prompt and response tokens."""
    rng = np.random.default_rng(seed)
    batch = len(prompts)
    lengths = np.array(prompts) + np.array(responses)
    place = np.arange(lengths.max())
    padding_mask = place < lengths[:, None]
    response_mask = padding_mask & (place >= np.array(prompts)[:, None])
    token_ids = rng.integers(3, VOCABULARY_SIZE, padding_mask.shape) * padding_mask
    shape = (batch, num_images, IMAGE_SIZE, IMAGE_SIZE, 3)
    images = rng.uniform(-1, 1, shape).astype("float32")
    ours = {
        "images": images,
        "token_ids": token_ids.astype("int32"),
        "padding_mask": padding_mask,
        "response_mask": response_mask,
    }
    image = np.ones((batch, num_images * NUM_IMAGE_TOKENS), int)
    is_real = np.concatenate([image > 0, padding_mask], axis=1)
    theirs = {
        "input_ids": np.concatenate([image * IMAGE_TOKEN, token_ids], axis=1),
        "token_type_ids": np.concatenate([0 * image, response_mask], axis=1),
        "attention_mask": is_real,
    }
    # A stable sort moves the padding to the left and keeps the rest in order.
    order = np.argsort(is_real, axis=1, kind="stable")
    tensors = {
        name: torch.from_numpy(np.take_along_axis(value, order, axis=1).astype("int64"))
        for name, value in theirs.items()
    }
    pixels = images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3).transpose(0, 3, 1, 2)
    tensors["pixel_values"] = torch.from_numpy(pixels.copy())
    return Batch(ours, tensors, is_real)
