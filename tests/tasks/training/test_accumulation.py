"""Accumulated gradients: by hand, and as those of one large batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM, ResponseLoss
from keras_pg2.tasks.training.accumulation import (
    WeightedUpdates,
    accumulation_steps,
    add_weight,
)
from tests.support.unequal_answers import unequal_model, unequal_rows

ROWS = unequal_rows()
WEIGHTS = (2.0, 12.0, 3.0, 17.0)


def gradients() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(0, 1, (4, 3, 2)).astype("float32"))


def updated(
    optimizer: Any, steps: list[tuple[np.ndarray, float]], scale: float = 1.0
) -> np.ndarray:
    """Return weights that begin as ones, after steps of gradients and weights."""
    weights = keras.Variable(np.ones((3, 2), "float32"), name="kernel")
    add_weight(optimizer)
    optimizer.build([weights])
    for gradient, weight in steps:
        step = optimizer
        if accumulation_steps(optimizer):
            weight = ops.convert_to_tensor(weight, "float32")
            step = WeightedUpdates(optimizer, weight)
        gradient = ops.convert_to_tensor(scale * gradient)
        if keras.config.backend() == "jax":
            values = [v.value for v in optimizer.variables]
            new, values = step.stateless_apply(values, [gradient], [weights.value])
            for variable, value in zip(
                [weights, *optimizer.variables], [*new, *values], strict=True
            ):
                variable.assign(value)
        elif keras.config.backend() == "torch":
            import torch

            with torch.no_grad():
                step.apply([gradient], [weights])
        else:
            step.apply_gradients([(gradient, weights)])
    return ops.convert_to_numpy(weights)


def weighted(some: list[np.ndarray], weights: tuple[float, ...]) -> np.ndarray:
    return np.average(np.stack(some).astype("float64"), axis=0, weights=weights)


def test_sgd_by_hand():
    """Two updates of two batches each; what is clipped is their weighted mean."""
    g = gradients()
    found = updated(
        keras.optimizers.SGD(0.1, clipnorm=0.5, gradient_accumulation_steps=2),
        list(zip(g, WEIGHTS, strict=True)),
    )
    expected = np.ones((3, 2))
    for two in (slice(0, 2), slice(2, 4)):
        mean = weighted(g[two], WEIGHTS[two])
        norm = np.sqrt(np.square(mean).sum())
        assert norm > 0.5
        expected -= 0.1 * mean * 0.5 / norm
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # As Keras divides, all four counting alike, it is another.
    alike = updated(
        keras.optimizers.SGD(0.1, clipnorm=0.5, gradient_accumulation_steps=2),
        [(one, 1.0) for one in g],
    )
    assert np.abs(alike - expected).max() > 1e-2


def test_adamw_by_hand():
    g = gradients()
    found = updated(
        keras.optimizers.AdamW(0.1, weight_decay=0.3, gradient_accumulation_steps=2),
        list(zip(g, WEIGHTS, strict=True)),
    )
    # I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization" (2019), with
    # the epsilon of the order of D. Kingma and J. Ba (2015), end of section 2.
    expected, first, second = np.ones((3, 2)), 0.0, 0.0
    for step, two in enumerate((slice(0, 2), slice(2, 4)), start=1):
        mean = weighted(g[two], WEIGHTS[two])
        first = 0.9 * first + 0.1 * mean
        second = 0.999 * second + 0.001 * np.square(mean)
        expected = expected - 0.1 * 0.3 * expected
        rate = 0.1 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected = expected - rate * first / (np.sqrt(second) + 1e-7)
    # Keras takes the power of 0.999 in float32.
    np.testing.assert_allclose(found, expected, atol=3e-6)
    means = [(weighted(g[i : i + 2], WEIGHTS[i : i + 2]), 1.0) for i in (0, 2)]
    plain = keras.optimizers.AdamW(0.1, weight_decay=0.3)
    means = [(mean.astype("float32"), weight) for mean, weight in means]
    np.testing.assert_allclose(found, updated(plain, means), atol=1e-6)


def test_batches_without_weight_and_an_unfinished_update():
    g = gradients()
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=3)
    steps = [(g[0], 0.0), (g[1], 5.0), (g[2], 0.0), (g[3], 7.0)]
    np.testing.assert_allclose(updated(optimizer, steps), 1 - g[1], atol=1e-6)
    nothing = keras.optimizers.SGD(1.0, gradient_accumulation_steps=2)
    found = updated(nothing, [(g[0], 0.0), (g[1], 0.0)])
    np.testing.assert_array_equal(found, np.ones((3, 2)))


@pytest.mark.two_backends("a weight of 0, which is tried on all")
def test_a_batch_that_overflows_float16_is_left_out():
    g = gradients()
    inner = keras.optimizers.SGD(1.0, gradient_accumulation_steps=2)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0)
    overflow = np.full((3, 2), np.inf, "float32")
    # The scale is halved by the overflow, so the last gradient is as that has it.
    steps = [(g[0], 2.0), (overflow, 9.0), (g[1] / 2, 12.0)]
    found = updated(optimizer, steps, scale=64.0)
    expected = 1 - weighted(g[:2], (2.0, 12.0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def changes(model: PaliGemma2CausalLM, batch_size: int, num_epochs: int) -> dict:
    """Train; what it adds to each weight."""
    before = {v.path: np.array(ops.convert_to_numpy(v)) for v in model.weights}
    model.fit(
        ROWS.x,
        ROWS.y,
        batch_size,
        sample_weight=ROWS.sample_weight,
        epochs=num_epochs,
        shuffle=False,
        verbose=0,
    )
    after = {v.path: np.array(ops.convert_to_numpy(v)) for v in model.weights}
    return {path: after[path] - before[path] for path in before}


def check_equal(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    largest = max(np.abs(change).max() for change in expected.values())
    assert largest > 0
    for path, change in expected.items():
        np.testing.assert_allclose(
            found[path], change, rtol=0, atol=tolerance * largest, err_msg=path
        )


@pytest.mark.parametrize(
    "reduction",
    [
        "token",
        pytest.param("example", marks=pytest.mark.one_backend("which weights count")),
    ],
)
@pytest.mark.eager
def test_an_update_of_all_weights_is_that_of_the_full_batch(reduction):
    """By a batch of three rows and one of one."""
    found = {}
    for batch_size in (4, 3):
        model = unequal_model()
        steps = None if batch_size == 4 else 2
        optimizer = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=steps)
        model.compile(optimizer, ResponseLoss(reduction=reduction))
        found[batch_size] = changes(model, batch_size, 1)
    check_equal(found[3], found[4], 1e-5)


@pytest.mark.two_backends("other variables; all weights are updated on all")
def test_lora_by_adamw_is_that_of_the_full_batch():
    """Two updates, each by four batches of one row."""
    found = {}
    for batch_size in (4, 1):
        model = unequal_model()
        model.enable_lora(2, ["query_dense", "down_dense"])
        rng = np.random.default_rng(1)
        for variable in sorted(model.trainable_variables, key=lambda each: each.path):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        steps = None if batch_size == 4 else 4
        model.compile(
            keras.optimizers.AdamW(
                1e-2, global_clipnorm=1.0, gradient_accumulation_steps=steps
            )
        )
        found[batch_size] = changes(model, batch_size, 2)
    # Adam divides by the root of squares, and so enlarges what is only rounding.
    check_equal(found[1], found[4], 1e-3)


@pytest.mark.one_backend("which rule is taken")
def test_losses_of_others_are_accumulated_as_in_keras():
    model = unequal_model()
    optimizer = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    assert not [v for v in optimizer.variables if v.name == "accumulated_weight"]
    for _ in range(2):
        model.compile(optimizer)
    assert len([v for v in optimizer.variables if v.name == "accumulated_weight"]) == 1


@pytest.mark.one_backend("before anything is computed")
def test_many_optimizers_that_accumulate_are_refused():
    model = unequal_model()
    parts = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(1e-3),
        {"vision_encoder/.*": keras.optimizers.SGD(gradient_accumulation_steps=2)},
    )
    model.compile(keras.optimizers.MultiOptimizer(parts))
    with pytest.raises(ValueError, match="MultiOptimizer whose optimizers accumulate"):
        model.train_on_batch(*ROWS)
