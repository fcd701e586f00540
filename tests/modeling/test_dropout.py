"""Dropout: how much, when, where, and the same noise in backward."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.modeling.dropout import Dropout, Noise
from tests.support.gradients import gradients_of
from tests.support.one_program import apply
from tests.support.tiny_networks import random_backbone, random_inputs


def run(backbone, inputs):
    # On JAX variables change only in a scope.
    with keras.StatelessScope():
        return ops.convert_to_numpy(apply(backbone, inputs, training=True))


def test_a_share_is_dropped_and_the_rest_scaled():
    x = np.full((100, 100), 3.0, "float32")
    noise = Noise()
    drop = Dropout(noise, 0.25, 0)
    assert drop(x, None) is x
    y = ops.convert_to_numpy(drop(x, True))
    assert set(np.unique(y)) == {0.0, 4.0}
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.02)
    # The same until the state moves on; other places have other noise.
    np.testing.assert_array_equal(ops.convert_to_numpy(drop(x, True)), y)
    other = ops.convert_to_numpy(Dropout(noise, 0.25, 1)(x, True))
    noise.advance()
    later = ops.convert_to_numpy(drop(x, True))
    for different in (other, later):
        both = np.mean((different == 0) & (y == 0))
        assert both == pytest.approx(0.25**2, abs=0.01)


def test_only_in_training_and_by_the_seed():
    inputs = random_inputs([7, 9], num_responses=4)
    expected = ops.convert_to_numpy(apply(random_backbone(), inputs, training=True))
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        backbone = random_backbone(dropout=0.5)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(apply(backbone, inputs)), expected
        )
        found.append(run(backbone, inputs))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - expected).mean() > 0.1
    assert "dropout" not in random_backbone().get_config()["text_decoder"]
    assert backbone.get_config()["text_decoder"]["dropout"] == 0.5


def test_where_big_vision_drops():
    """With one block, and a post-norm whose output has a length of its own.

    What the MLP adds is normed after the dropout: its root mean square is that of the
    norm, and only numbers that are dropped are 0. What the attention adds is dropped
    after its norm: the others are those of no dropout, twice as large.
    """
    backbone = random_backbone(num_layers=1, dropout=0.5)
    block = backbone.text_decoder.blocks[0]
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (2, 5, 24)).astype("float32")
    attended = block.post_attention_norm(x)
    dropped = ops.convert_to_numpy(block.attention_dropout(attended, True))
    kept = dropped != 0
    np.testing.assert_allclose(
        dropped[kept], 2 * ops.convert_to_numpy(attended)[kept], rtol=1e-6
    )
    for layer in (block.post_attention_norm, block.post_mlp_norm):
        layer.scale.assign(np.zeros(24))
    seen = {}

    def watch(name, function):
        def call(value, training=None):
            seen[name] = ops.convert_to_numpy(value)
            return function(value, training)

        return call

    block.attention_dropout = watch("attention", block.attention_dropout)
    block.mlp_dropout = watch("mlp", block.mlp_dropout)
    with keras.StatelessScope():
        backbone(random_inputs([7, 9]), training=True)

    def lengths(value):
        return np.sqrt((value**2).mean(axis=-1))

    np.testing.assert_allclose(lengths(seen["attention"]), 1, atol=1e-3)
    assert np.abs(lengths(seen["mlp"]) - 1).mean() > 0.1


def test_checkpointed_blocks_draw_the_same_noise_again():
    inputs = random_inputs([7, 12], num_responses=5)
    backbone = random_backbone(dropout=0.3)
    variables = backbone.trainable_variables
    state = backbone.text_decoder.noise.generator.state
    start = ops.convert_to_numpy(state).copy()
    found = []
    for parts in ((), ("text_decoder",)):
        state.assign(start)
        backbone.checkpoint_activations = parts
        found.append(
            gradients_of(
                lambda: ops.mean(ops.square(backbone(inputs, training=True))), variables
            )
        )
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    largest = max(np.abs(gradient).max() for gradient in found[0][1])
    for variable, ours, theirs in zip(variables, found[1][1], found[0][1]):
        scale = max(np.abs(theirs).max(), 1e-3 * largest)
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=variable.path
        )


@pytest.mark.parametrize(("rate", "error"), [(1.0, ValueError), ("a", TypeError)])
def test_rates_are_checked(rate, error):
    with pytest.raises(error, match="Expected dropout"):
        random_backbone(dropout=rate)
