"""Small networks whose hard parts really bite, for the tests of every room."""

from __future__ import annotations

import numpy as np

from keras_pg2.modeling import PaliGemma2Backbone

VISION_ENCODER = {
    "image_size": 28,
    "patch_size": 14,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 20,
}
# Grouped queries, N * H != D, a query scale of its own, and a window that is
# smaller than the sequences of the tests.
TEXT_DECODER = {
    "vocabulary_size": 60,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "hidden_dim": 24,
    "intermediate_dim": 40,
    "query_pre_attn_scalar": 6,
    "sliding_window": 4,
}


def random_backbone(
    seed: int = 0, vision_layers: int = 2, **text_decoder: object
) -> PaliGemma2Backbone:
    """A small backbone with weights so large that the soft caps bite."""
    backbone = PaliGemma2Backbone(
        {**VISION_ENCODER, "num_layers": vision_layers},
        {**TEXT_DECODER, **text_decoder},
    )
    randomize(backbone, seed)
    return backbone


def randomize(backbone: PaliGemma2Backbone, seed: int) -> None:
    """Gives every weight a new random value."""
    rng = np.random.default_rng(seed)
    # Backends list weights in an order of their own.
    for weight in sorted(backbone.weights, key=lambda weight: weight.path):
        scale = 2.0 / np.sqrt(weight.shape[0]) if len(weight.shape) > 1 else 0.6
        # Small embeddings, so that what a token predicts is not mainly itself,
        # and a large final norm, so that logits reach their cap all the same.
        mean = 8.0 if weight.path.endswith("text_decoder/final_norm/scale") else 0.0
        if weight.path.endswith("token_embedding/embeddings"):
            scale = 0.2
        weight.assign(rng.normal(mean, scale, weight.shape).astype("float32"))


def random_inputs(
    lengths: list[int], seed: int = 0, num_responses: int = 0
) -> dict[str, np.ndarray]:
    """One image and random tokens a row, padded on the right to the longest row.

    The last `num_responses` tokens of each row are response tokens.
    """
    rng = np.random.default_rng(seed)
    size = VISION_ENCODER["image_size"]
    place = np.arange(max(lengths))[None]
    ends = np.array(lengths)[:, None]
    padding_mask = place < ends
    token_ids = rng.integers(4, TEXT_DECODER["vocabulary_size"], padding_mask.shape)
    return {
        "images": rng.uniform(-1, 1, (len(lengths), size, size, 3)).astype("float32"),
        "token_ids": (token_ids * padding_mask).astype("int32"),
        "padding_mask": padding_mask,
        "response_mask": padding_mask & (place >= ends - num_responses),
    }
