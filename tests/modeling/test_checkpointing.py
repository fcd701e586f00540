"""Checkpointed blocks: the same numbers, fewer arrays kept for backward."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tests.support.gradients import gradients_of, kept_for_backward
from tests.support.tiny_networks import TEXT_DECODER, random_backbone, random_inputs

BOTH = ("vision_encoder", "text_decoder")


def sum_of_squares(backbone, inputs):
    return ops.mean(ops.square(backbone(inputs)))


def test_gradients_stay_the_same():
    backbone = random_backbone()
    inputs = random_inputs([7, 12, 9], num_responses=5)
    variables = backbone.trainable_variables

    def loss():
        return sum_of_squares(backbone, inputs)

    expected_loss, expected = gradients_of(loss, variables, by_xla=True)
    backbone.checkpoint_activations = BOTH
    assert backbone.checkpoint_activations == BOTH
    found_loss, found = gradients_of(loss, variables, by_xla=True)
    assert found_loss == pytest.approx(expected_loss, rel=1e-6)
    largest = max(np.abs(gradient).max() for gradient in expected)
    for variable, ours, theirs in zip(variables, found, expected, strict=True):
        scale = max(np.abs(theirs).max(), 1e-3 * largest)
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=variable.path
        )


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="XLA does not tell what it keeps"
)
def test_backward_is_handed_few_arrays():
    inputs = random_inputs([100, 120], num_responses=5)
    backbone = random_backbone(num_layers=4)
    variables = backbone.trainable_variables
    size = sum(4 * int(np.prod(variable.shape)) for variable in variables)
    kept = {}
    for parts in ((), ("vision_encoder",), ("text_decoder",), BOTH):
        backbone.checkpoint_activations = parts
        kept[parts] = kept_for_backward(
            lambda: sum_of_squares(backbone, inputs), variables
        )
    assert kept[("vision_encoder",)] < kept[()]
    assert kept[("text_decoder",)] < kept[()]
    assert kept[BOTH] - size < (kept[()] - size) / 4


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="what XLA makes of TensorFlow's"
)
def test_xla_computes_blocks_again():
    import tensorflow as tf

    backbone = random_backbone()
    inputs = random_inputs([7, 12], num_responses=5)
    variables = [variable.value for variable in backbone.trainable_variables]

    def count_tanh():
        @tf.function(jit_compile=True)
        def run():
            with tf.GradientTape() as tape:
                value = sum_of_squares(backbone, inputs)
            return tape.gradient(value, variables)

        text = run.experimental_get_compiler_ir()(stage="optimized_hlo")
        return text.count(" tanh(")

    before = count_tanh()
    backbone.checkpoint_activations = ("text_decoder",)
    # One of the attention's soft cap and one of the GELU in each block.
    assert count_tanh() - before == 2 * TEXT_DECODER["num_layers"]


@pytest.mark.parametrize(
    "parts", ["text_decoder", ("projection",), ("text_decoder", 1)]
)
def test_other_parts_are_refused(parts):
    with pytest.raises(ValueError, match="list of names among"):
        random_backbone().checkpoint_activations = parts
