"""Packages side by side: the same weights and prompts, loaded and asked in each."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.catalogue.released import PRESETS

GEMMA2 = {
    "vocabulary_size": 257_152,
    "attention_logit_soft_cap": 50.0,
    "final_logit_soft_cap": 30.0,
    "sliding_window": 4096,
    "has_post_norms": True,
}
SHAPES: dict[str, Any] = {
    "tiny": {
        "vision_encoder": {
            "image_size": 28,
            "patch_size": 14,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 20,
        },
        "text_decoder": {
            **GEMMA2,
            "num_layers": 2,
            "num_query_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "hidden_dim": 24,
            "intermediate_dim": 40,
            "query_pre_attn_scalar": 8,
        },
    },
    "290m": {
        "vision_encoder": {
            "image_size": 224,
            "patch_size": 14,
            "num_layers": 12,
            "num_heads": 6,
            "hidden_dim": 384,
            "intermediate_dim": 1536,
        },
        "text_decoder": {
            **GEMMA2,
            "num_layers": 8,
            "num_query_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "hidden_dim": 768,
            "intermediate_dim": 3072,
            "query_pre_attn_scalar": 128,
        },
    },
    "3b": "pali_gemma2_pt_3b_224",
    "3b_896": "pali_gemma2_pt_3b_896",
    "28b": "pali_gemma2_pt_28b_224",
}
TEXT_LENGTH = 512
"""What KerasHub pads to where nothing is said."""

Inputs = dict[str, np.ndarray]
Generate = Callable[[Inputs, int, int | None, bool], np.ndarray]
"""(inputs, most new tokens, stop token or None, whether lengths are exact) -> the new
tokens int[B, ...] and what a side puts behind them."""


def architecture_of(shape: str) -> dict[str, dict[str, Any]]:
    """Return the architecture of a shape of this file or of the catalogue."""
    known = SHAPES[shape]
    return PRESETS[known].architecture if isinstance(known, str) else known


def make_inputs(
    architecture: dict[str, Any], lengths: tuple[int, ...], seed: int
) -> Inputs:
    """A picture and a random prompt a row, padded on the right."""
    rng = np.random.default_rng(seed)
    size = architecture["vision_encoder"]["image_size"]
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    token_ids = rng.integers(300, 200_000, mask.shape) * mask
    return {
        "images": rng.uniform(-1, 1, (len(lengths), size, size, 3)).astype("float32"),
        "token_ids": token_ids.astype("int32"),
        "padding_mask": mask,
    }


def load_keras_pg2(directory: Path, dtype: str) -> Generate:
    from keras_pg2 import PaliGemma2CausalLM

    model = PaliGemma2CausalLM.from_preset(str(directory), dtype=dtype)
    warm = set()

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        length = {"max_new_tokens": count} if exact else {"max_length": TEXT_LENGTH}
        shape = inputs["token_ids"].shape
        limit = count if exact else TEXT_LENGTH - shape[1]
        if (*shape, limit) not in warm:
            model.warmup(*shape, max_new_tokens=limit)
            warm.add((*shape, limit))
        stops = None if stop is None else [stop]
        result = model.generate(
            inputs, stop_token_ids=stops, strip_prompt=True, **length
        )
        return result["token_ids"]

    return generate


def load_keras_hub(directory: Path, dtype: str) -> Generate:
    import keras_hub
    from keras import config, ops

    from keras_pg2.tasks.loading.loading import load_parts
    from tests.support.keras_hub_copy import copy_to_keras_hub

    config.set_dtype_policy(dtype)
    ours, _ = load_parts(str(directory), dtype=dtype)
    model = keras_hub.models.PaliGemmaCausalLM(None, copy_to_keras_hub(ours))
    del ours
    gc.collect()

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        length = inputs["token_ids"].shape[1]
        extra = count if exact else TEXT_LENGTH - length
        padded = {
            name: value
            if name == "images"
            else np.pad(value.astype("int32"), ((0, 0), (0, extra)))
            for name, value in inputs.items()
        }
        stops = None if stop is None else [stop]
        result = model.generate(padded, stop_token_ids=stops)
        # A row's answer begins behind its own prompt.
        tokens = ops.convert_to_numpy(result["token_ids"])
        starts = inputs["padding_mask"].sum(axis=1)
        indices = starts[:, None] + np.arange(count)
        return np.take_along_axis(tokens, indices, axis=1)

    return generate


def load_transformers(directory: Path, dtype: str, is_compiled: bool = False) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=getattr(torch, dtype)
    ).to(device)
    num_images = (model.config.vision_config.image_size // 14) ** 2
    options: dict[str, Any] = {"pad_token_id": 0, "do_sample": False}
    if is_compiled:
        options["cache_implementation"] = "static"

    def generate(inputs: Inputs, count: int, stop: int | None, exact: bool) -> Any:
        mask = inputs["padding_mask"]
        batch_size = len(mask)
        # Padding goes to the left, the image before the text.
        image = np.full((batch_size, num_images), model.config.image_token_id)
        real = np.concatenate([np.ones_like(image), mask], axis=1)
        ids = np.concatenate([image, inputs["token_ids"]], axis=1)
        order = np.argsort(real, axis=1, kind="stable")
        ids, real = (np.take_along_axis(x, order, axis=1) for x in (ids, real))
        pixels = inputs["images"].transpose(0, 3, 1, 2).copy()
        with torch.no_grad():
            output = model.generate(
                input_ids=torch.tensor(ids, device=device).long(),
                attention_mask=torch.tensor(real.astype("int64"), device=device),
                token_type_ids=torch.zeros_like(torch.tensor(ids, device=device)),
                pixel_values=torch.tensor(
                    pixels, device=device, dtype=getattr(torch, dtype)
                ),
                max_new_tokens=count if exact else TEXT_LENGTH - mask.shape[1],
                eos_token_id=stop,
                **options,
            )
        return output[:, ids.shape[1] :].cpu().numpy()

    return generate


LOADERS: dict[str, Callable[[Path, str], Generate]] = {
    "keras_pg2": load_keras_pg2,
    "keras_hub": load_keras_hub,
    "transformers": load_transformers,
    "transformers_compiled": lambda d, t: load_transformers(d, t, is_compiled=True),
}
"""By package: a checkpoint's directory and a dtype to the function that generates."""
