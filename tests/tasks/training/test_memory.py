"""What a step takes: parts against numbers by hand, and against XLA's own account."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import (
    PaliGemma2Backbone,
    PaliGemma2CausalLM,
    ResponseLoss,
    estimate_memory,
)
from keras_pg2.catalogue.architecture import count_parameters
from tests.support.gradients import gradients_of, jax_loss
from tests.support.tiny_networks import (
    TEXT_DECODER,
    VISION_ENCODER,
    random_backbone,
    random_inputs,
)

BOTH = ("vision_encoder", "text_decoder")
NUMBERS = {
    "vision_encoder": VISION_ENCODER,
    "text_decoder": {**TEXT_DECODER, "has_post_norms": True},
}


def tiny_task(**text_decoder: Any) -> PaliGemma2CausalLM:
    return PaliGemma2CausalLM(random_backbone(**text_decoder))


def test_full_fine_tuning_by_hand():
    model = tiny_task()
    model.compile(loss=ResponseLoss(chunk_size=10))
    found = estimate_memory(model, batch_size=2, text_length=12)

    weights = 4 * count_parameters(**NUMBERS)
    assert (found.weights, found.adapters) == (weights, 0)
    assert (found.gradients, found.optimizer) == (weights, 2 * weights)
    # 4 image tokens each. Norms 2 x 16, q k v 3 x 16, MLP 20, and the inputs of what
    # is trained: 16 before q k v, 16 before output, 16 before up, 20 before down.
    vision = 2 * 8 * (32 + 48 + 20 + 16 + 16 + 16 + 20)
    # 16 tokens each. Norms 4 x 24, q k v (4 + 2 + 2) x 8, MLP 2 x 40, and 24 before
    # q k v, 4 x 8 before output, 24 before gate and up, 40 before down.
    decoder = 2 * 32 * (96 + 64 + 80 + 24 + 32 + 24 + 40)
    pictures, states = 2 * 28 * 28 * 3, 3 * 32 * 24
    assert found.activations == 4 * (vision + decoder + pictures + states)
    # Three chunks of 2 x 4 tokens: two arrays of logits; gradients of the states, and
    # of the vocabulary twice.
    assert found.loss == 4 * (2 * 8 * 60 + 2 * 12 * 24 + 2 * 60 * 24)
    # Four arrays of the gated MLP, or three of the logits of 4 heads, 16 x 16.
    assert found.working == 4 * max(4 * 32 * 40, 3 * 2 * 4 * 16 * 16)
    assert found.total == found.runtime + 3 * weights + max(
        found.activations + max(found.loss, found.working), weights + found.working
    )
    assert f"{found.total / 1e9:.3f} GB" in str(found)


def test_lora_checkpointing_and_types_by_hand():
    model = tiny_task()
    model.enable_lora(3, ["query_dense", "value_dense"])
    plain = estimate_memory(model, 2, 12)
    # Rank 3 beside 16 -> 16, twice in two blocks, and 24 -> 32 and 24 -> 16.
    factors = 4 * 3 * 2 * (2 * (16 + 16) + (24 + 32) + (24 + 16))
    assert (plain.adapters, plain.gradients) == (factors, factors)
    assert plain.optimizer == 2 * factors
    vision, decoder = 2 * 8 * (32 + 48 + 20 + 16), 2 * 32 * (96 + 64 + 80 + 24)
    others = 2 * 28 * 28 * 3 + 3 * 32 * 24
    assert plain.activations == 4 * (vision + decoder + others)
    # 64 MB are the logits of more than 2 x 12 tokens.
    assert plain.loss == 4 * (2 * 24 * 60 + 2 * 12 * 24)

    model.backbone.checkpoint_activations = BOTH
    thrifty = estimate_memory(model, 2, 12)
    assert thrifty.activations == 4 * (2 * 8 * 16 + 2 * 32 * 24 + others)
    assert thrifty.working == plain.working + 4 * decoder // 2
    assert thrifty.weights == plain.weights

    keras.config.set_dtype_policy("bfloat16")
    model = tiny_task()
    keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="weights in float32"):
        estimate_memory(model, 2, 12)
    model.enable_lora(3, ["query_dense", "value_dense"])
    half = estimate_memory(model, 2, 12)
    assert half.weights == 2 * count_parameters(**NUMBERS)
    assert half.adapters == factors


def test_mixed_precision_by_hand():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny_task()
    keras.config.set_dtype_policy("float32")
    model.compile(loss=ResponseLoss(chunk_size=10))
    found = estimate_memory(model, 2, 12)
    # Stored in float32, as are gradients and moments.
    weights = 4 * count_parameters(**NUMBERS)
    assert found.weights == found.gradients == found.optimizer // 2 == weights
    # As in float32 (see above), in 2 bytes; and the kernels of both parts' two blocks.
    vision = 2 * 8 * (32 + 48 + 20 + 16 + 16 + 16 + 20)
    decoder = 2 * 32 * (96 + 64 + 80 + 24 + 32 + 24 + 40)
    pictures, states = 2 * 28 * 28 * 3, 3 * 32 * 24
    kernels = 2 * (4 * 16 * 16 + 2 * 16 * 20)
    in_block = 2 * 24 * 32 + 2 * 24 * 16 + 3 * 24 * 40
    kernels += 2 * in_block
    expected = 2 * (vision + decoder + states + kernels) + 4 * pictures
    assert found.activations == expected
    # Blocks that are computed again cast their kernels again.
    model.backbone.checkpoint_activations = BOTH
    thrifty = estimate_memory(model, 2, 12)
    entries = 2 * 8 * 16 + 2 * 32 * 24
    assert thrifty.activations == 2 * (entries + states) + 4 * pictures
    assert thrifty.working == found.working + 2 * (decoder // 2 + in_block)


def test_decoder_alone_and_whole_numbers():
    model = tiny_task()
    model.enable_lora(3, parts=["decoder"])
    alone = estimate_memory(model, 2, 12)
    decoder = 2 * 32 * (96 + 64 + 80 + 24)
    assert alone.activations == 4 * (decoder + 2 * 28 * 28 * 3 + 3 * 32 * 24)
    model.quantize("int8")
    small = estimate_memory(model, 2, 12)
    assert small.weights < 0.6 * alone.weights
    # The vocabulary as floats, for the logits.
    assert small.loss == alone.loss + 4 * 60 * 24


@pytest.mark.parametrize("sizes", [(0, 5), (2, 0), (2.0, 5), (2, 5, -1)])
def test_other_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="as an integer >= "):
        estimate_memory(tiny_task(), *sizes)


def test_gradients_of_factors_with_dropout_stay_the_same():
    model = tiny_task(dropout=0.3)
    model.enable_lora(3, ["query_dense", "mlp_up", "down_dense"], dropout=0.2)
    rng = np.random.default_rng(0)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    inputs = random_inputs([7, 12], num_responses=5)
    generator = model.backbone.text_decoder.noise.generator
    start = ops.convert_to_numpy(generator.state.value)

    def loss():
        return ops.mean(ops.square(model._compute_hidden(inputs, training=True)))

    expected_loss, expected = gradients_of(loss, variables)
    model.backbone.checkpoint_activations = BOTH
    generator.state.assign(start)
    found_loss, found = gradients_of(loss, variables)
    assert found_loss == pytest.approx(expected_loss, rel=1e-6)
    largest = max(np.abs(gradient).max() for gradient in expected)
    assert largest > 0
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest)


@pytest.mark.skipif(keras.config.backend() != "jax", reason="XLA's account, on JAX")
def test_xla_agrees_and_keeps_less_when_checkpointed():
    import jax

    backbone = PaliGemma2Backbone(
        {**VISION_ENCODER, "image_size": 112, "hidden_dim": 32, "num_layers": 4},
        {**TEXT_DECODER, "num_layers": 8, "hidden_dim": 64, "intermediate_dim": 256},
    )
    model = PaliGemma2CausalLM(backbone)
    model.enable_lora(3)
    model.compile()
    inputs = {
        "images": np.zeros((4, 112, 112, 3), "float32"),
        "token_ids": np.ones((4, 64), "int32"),
        "padding_mask": np.ones((4, 64), bool),
        "response_mask": np.zeros((4, 64), bool),
    }

    def temporaries() -> int:
        def run():
            states = model._compute_states(inputs, training=True)
            return model.compute_loss(y=np.ones((4, 64)), y_pred=states)

        loss = jax_loss(run, model.trainable_variables)
        values = [v.value for v in model.trainable_variables]
        compiled = jax.jit(jax.grad(loss)).lower(values).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def estimated() -> int:
        found = estimate_memory(model, 4, 64)
        return found.activations + max(found.loss, found.working)

    plain, promised = temporaries(), estimated()
    backbone.checkpoint_activations = BOTH
    thrifty, less_promised = temporaries(), estimated()
    assert thrifty < 0.5 * plain
    assert promised == pytest.approx(plain, rel=0.25)
    assert less_promised == pytest.approx(thrifty, rel=0.4)
