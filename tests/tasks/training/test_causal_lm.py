"""Steps of `fit` and `evaluate`: what they compute, and what they do not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM, ResponseLoss
from tests.support.array_shapes import shapes_of
from tests.support.one_program import apply
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize

VOCABULARY_SIZE = 1009


def network(dtype: str = "float32", **text_decoder: object) -> PaliGemma2CausalLM:
    architecture = {**TEXT_DECODER, "vocabulary_size": VOCABULARY_SIZE, **text_decoder}
    backbone = PaliGemma2Backbone(VISION_ENCODER, architecture, dtype=dtype)
    randomize(backbone, seed=0)
    return PaliGemma2CausalLM(backbone)


def batch(batch_size: int = 4, length: int = 19) -> tuple:
    """Inputs, labels and weights of ragged rows with responses of 3 to 6 tokens."""
    rng = np.random.default_rng(0)
    ends = rng.integers(12, length, (batch_size, 1))
    starts = ends - rng.integers(3, 7, (batch_size, 1))
    place = np.arange(length)[None]
    tokens = rng.integers(4, VOCABULARY_SIZE, (batch_size, length + 1))
    tokens[:, 1::3] = 5  # Something to learn.
    size = VISION_ENCODER["image_size"]
    images = rng.uniform(-1, 1, (batch_size, size, size, 3)).astype("float32")
    inputs = {
        "images": images,
        "token_ids": tokens[:, :-1].astype("int32"),
        "padding_mask": place < ends,
        "response_mask": (place >= starts) & (place < ends),
    }
    weights = ((place >= starts - 1) & (place < ends - 1)).astype("float32")
    weights *= np.array([1.0, 0.5, 2.0, 1.0])[:batch_size, None]
    return inputs, tokens[:, 1:].astype("int32"), weights.astype("float32")


def keras_loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )


def losses_of_fit(loss: object = "auto", num_steps: int = 20) -> list[float]:
    task = network()
    optimizer = keras.optimizers.SGD(0.001, momentum=0.9)
    metric = keras.metrics.SparseCategoricalAccuracy(name="own")
    metrics = "auto" if loss == "auto" else [metric]
    task.compile(optimizer=optimizer, loss=loss, weighted_metrics=metrics)
    x, y, weights = batch()
    history = task.fit(
        x, y, sample_weight=weights, epochs=num_steps, shuffle=False, verbose=0
    )
    return history.history["loss"]


def test_fit_gives_the_losses_of_all_logits_and_of_pytorch():
    found = losses_of_fit()
    assert found[-1] < found[0] - 1
    np.testing.assert_allclose(found, losses_of_fit(keras_loss()), rtol=1e-4)
    if keras.config.backend() != "jax":
        # adapters/test_continued compares TensorFlow's losses with PyTorch's.
        return
    code = (
        "import json; from tests.tasks.training.test_causal_lm import losses_of_fit; "
        "print(json.dumps(losses_of_fit()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(other.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.eager
def test_evaluate_gives_the_numbers_of_all_logits():
    x, y, weights = batch()
    task = network()
    y[:, ::2] = np.argmax(task.predict(x, verbose=0), axis=-1)[:, ::2]
    task.compile(weighted_metrics=["accuracy"])
    found = task.evaluate(
        x, y, sample_weight=weights, batch_size=4, verbose=0, return_dict=True
    )
    metric = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    task.compile(loss=keras_loss(), weighted_metrics=[metric])
    expected = task.evaluate(
        x, y, sample_weight=weights, batch_size=4, verbose=0, return_dict=True
    )
    assert found.keys() == expected.keys() == {"loss", "accuracy"}
    assert 0.2 < expected["accuracy"] < 0.9
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.eager
def test_logits_come_from_predict_and_calls_all_the_same():
    x, y, weights = batch()
    task = network()
    before = task.predict(x, verbose=0)
    task.compile(optimizer=keras.optimizers.SGD(0.0))
    task.train_on_batch(x, y, sample_weight=weights)
    assert task(x).shape == (*y.shape, VOCABULARY_SIZE)
    np.testing.assert_allclose(task.predict(x, verbose=0), before, atol=1e-5)


@pytest.mark.two_backends("which is asked before a step")
def test_a_call_gives_logits_also_inside_a_step():
    shapes = []

    class Asking(ResponseLoss):
        def of_states(self, hidden, *arguments):
            shapes.append((tuple(hidden.shape), tuple(task(x).shape)))
            return super().of_states(hidden, *arguments)

    task = network()
    task.compile(optimizer="sgd", loss=Asking())
    x, y, weights = batch()
    task.train_on_batch(x, y, weights)
    task.test_on_batch(x, y, weights)
    hidden = (4, 19, TEXT_DECODER["hidden_dim"])
    assert set(shapes) == {(hidden, (4, 19, VOCABULARY_SIZE))}
    if keras.config.backend() == "tensorflow":
        assert len(shapes) == 2  # Each step is traced once.


class Darkened(PaliGemma2CausalLM):
    """A model that sees no pictures: a call of its own."""

    def call(self, inputs, training=None, **kwargs):
        dark = {**inputs, "images": inputs["images"] * 0.0}
        return super().call(dark, training=training, **kwargs)


class Watching(PaliGemma2CausalLM):
    """A model with a loss and metrics of its own, which look at what they are given."""

    shapes: tuple = ()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        again = self(dict(x), training=False)
        self.shapes = (*self.shapes, tuple(y_pred.shape), tuple(again.shape))
        return 2 * super().compute_loss(x, y, y_pred, sample_weight, **kwargs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.shapes = (*self.shapes, tuple(y_pred.shape))
        return super().compute_metrics(x, y, y_pred, sample_weight)


@pytest.mark.eager
def test_a_call_of_a_subclass_is_what_is_trained():
    x, y, weights = batch()
    dark = {**x, "images": np.zeros_like(x["images"])}
    tasks = {kind: kind(network().backbone) for kind in (PaliGemma2CausalLM, Darkened)}
    found = {}
    for kind, task in tasks.items():
        task.compile(optimizer=keras.optimizers.SGD(0.001))
        for images in (x, dark):
            data = (images, y, weights)
            found[kind, images is x] = task.test_on_batch(*data, return_dict=True)
    assert found[Darkened, True] == pytest.approx(found[PaliGemma2CausalLM, False])
    ours = found[PaliGemma2CausalLM, True]["loss"]
    assert abs(found[Darkened, True]["loss"] - ours) > 1e-3
    lit, unlit = (
        tasks[kind].train_on_batch(images, y, weights, return_dict=True)["loss"]
        for kind, images in ((Darkened, x), (PaliGemma2CausalLM, dark))
    )
    assert lit == pytest.approx(unlit, rel=1e-5)


@pytest.mark.two_backends("which is asked before a step; a call is tried on all")
def test_a_loss_and_metrics_of_a_subclass_are_given_logits():
    x, y, weights = batch()
    plain, watching = network(), Watching(network().backbone)
    y[:, ::2] = np.argmax(plain.predict(x, verbose=0), axis=-1)[:, ::2]
    expected, found = {}, {}
    for task, results in ((plain, expected), (watching, found)):
        task.compile(optimizer=keras.optimizers.SGD(0.0))
        history = task.fit(x, y, 4, weights, shuffle=False, verbose=0).history
        results.update({name: values[0] for name, values in history.items()})
    assert found["loss"] == pytest.approx(2 * expected["loss"], rel=1e-5)
    accuracy = "sparse_categorical_accuracy"
    assert 0.2 < expected[accuracy] < 0.9
    assert found[accuracy] == pytest.approx(expected[accuracy], rel=1e-5)
    # What is set in a step stays, and all of it are logits.
    assert len(watching.shapes) >= 3
    assert {shape[-1] for shape in watching.shapes} == {VOCABULARY_SIZE}


def test_logits_follow_the_embedding():
    x, _, _ = batch()
    task = network()
    embedding = task.backbone.token_embedding.embeddings
    rng = np.random.default_rng(3)
    embedding.assign(rng.normal(0, 0.2, embedding.shape).astype("float32"))
    text = apply(task.backbone, x)[:, -x["token_ids"].shape[1] :]
    expected = keras.ops.convert_to_numpy(task.backbone.project_to_vocabulary(text))
    np.testing.assert_allclose(task.predict(x, verbose=0), expected, atol=1e-4)


@pytest.mark.eager
def test_another_metric_is_given_logits():
    x, y, weights = batch()
    task = network()
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=VOCABULARY_SIZE, name="top")
    task.compile(loss=ResponseLoss(0.1, "example"), weighted_metrics=[top])
    of_logits = task.test_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert of_logits["top"] == pytest.approx(1.0)
    task.compile(loss=ResponseLoss(0.1, "example"))
    in_chunks = task.test_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert in_chunks["loss"] == pytest.approx(of_logits["loss"], rel=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy):
    x, y, weights = batch()
    task = network(policy)
    optimizer = keras.optimizers.SGD(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    task.compile(optimizer=optimizer)
    losses = [
        float(
            task.train_on_batch(x, y, sample_weight=weights, return_dict=True)["loss"]
        )
        for _ in range(6)
    ]
    plain = network()
    plain.compile(loss=keras_loss(), weighted_metrics=[])
    expected = plain.test_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert losses[0] == pytest.approx(expected["loss"], rel=0.02)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("lora", [False, True])
def test_no_array_of_tokens_by_vocabulary(lora):
    x, y, weights = batch()
    task = network()
    if lora:
        task.backbone.enable_lora(2)
    task.compile(optimizer=keras.optimizers.SGD(0.01), loss=ResponseLoss(chunk_size=8))
    task.optimizer.build(task.trainable_variables)
    if keras.config.backend() == "jax":
        variables = (
            task.trainable_variables,
            task.non_trainable_variables,
            task.optimizer.variables,
            task.metrics_variables,
        )
        state = keras.tree.map_structure(lambda variable: variable.value, variables)
        shapes = shapes_of(task.train_step, state, (x, y, weights))
    else:
        shapes = shapes_of(lambda *data: task.train_step(data), x, y, weights)
    assert any(y.size in shape or y.shape == shape for shape in shapes)
    sizes = {
        int(np.prod(shape)) // VOCABULARY_SIZE
        for shape in shapes
        if VOCABULARY_SIZE in shape
    }
    # Logits of chunks; beside them the embedding and its gradient alone.
    assert 8 in sizes
    assert max(sizes) <= TEXT_DECODER["hidden_dim"] < y.size
    if lora:
        assert not task.backbone.token_embedding.trainable_variables


def test_compile_config_comes_back():
    task = network()
    loss = ResponseLoss(0.1, "example", 8)
    task.compile(loss=loss, weighted_metrics=["accuracy"])
    config = task.get_compile_config()
    copy = network()
    copy.compile_from_config(config)
    assert copy.loss.get_config() == loss.get_config()
    assert [metric.name for metric in copy.metrics] == ["loss", "accuracy"]
