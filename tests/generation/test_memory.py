"""What generation never makes: image tokens by vocabulary, copies of its caches."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_pg2.generation.decoding import Plan, Request, generate_tokens
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling import PaliGemma2Backbone
from tests.support.array_shapes import shapes_of
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize

# A number that no other size is made of, and many more image tokens than hidden units.
VOCABULARY_SIZE, IMAGE_SIZE, NUM_IMAGE_TOKENS = 1009, 140, 100
BATCH_SIZE, PROMPT_LENGTH, NUM_NEW = 2, 5, 4


def generation() -> tuple[Callable[[dict[str, Any]], Any], dict[str, np.ndarray]]:
    """A function that generates, and what it takes."""
    backbone = PaliGemma2Backbone(
        {**VISION_ENCODER, "image_size": IMAGE_SIZE},
        {**TEXT_DECODER, "vocabulary_size": VOCABULARY_SIZE},
    )
    randomize(backbone, seed=0)
    token_ids = np.full((BATCH_SIZE, PROMPT_LENGTH), 7, np.int32)
    inputs = {
        "images": np.zeros((BATCH_SIZE, 1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32),
        "token_ids": token_ids,
        "padding_mask": token_ids > 0,
        "response_mask": token_ids < 0,
    }
    uniforms = np.zeros((BATCH_SIZE, NUM_NEW), np.float32)
    limits = np.full(BATCH_SIZE, NUM_NEW, np.int32)
    no_stops, states = np.zeros(0, np.int32), np.zeros(BATCH_SIZE, np.int32)

    def run(inputs: dict[str, Any]) -> Any:
        plan = Plan(Sampler(), with_scores=True)
        constants = map(keras.ops.convert_to_tensor, (uniforms, limits, no_stops))
        parameters = Sampler().parameters
        request = Request(inputs, *constants, parameters, None, states)
        return generate_tokens(backbone, plan, request)

    return run, inputs


@pytest.mark.two_backends("the same program of XLA")
def test_no_array_of_image_tokens_by_vocabulary() -> None:
    shapes = shapes_of(*generation())
    assert any(NUM_IMAGE_TOKENS in shape for shape in shapes)
    sizes = {
        int(np.prod(shape)) // VOCABULARY_SIZE
        for shape in shapes
        if VOCABULARY_SIZE in shape
    }
    # Logits of the rows, and the embedding itself.
    assert BATCH_SIZE in sizes
    assert max(sizes) <= TEXT_DECODER["hidden_dim"]


@pytest.mark.skipif(keras.config.backend() != "jax", reason="XLA's code is read on JAX")
def test_a_token_copies_no_cache() -> None:
    import jax

    run, inputs = generation()
    code = jax.jit(run).lower(inputs).compile().as_text()
    num_slots = NUM_IMAGE_TOKENS + PROMPT_LENGTH + NUM_NEW
    heads = BATCH_SIZE * TEXT_DECODER["num_key_value_heads"]
    shape = f"[{heads},{num_slots},{TEXT_DECODER['head_dim']}]"
    lines = code.splitlines()
    assert any("while/body" in line and shape in line for line in lines)
    copied = re.compile(rf"= f32\[[\d,]*\b{num_slots}\b[\d,]*\]\S* copy\(")
    assert not [line for line in lines if copied.search(line)]
