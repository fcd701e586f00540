"""The loss in chunks against other libraries, and numbers worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import ResponseLoss
from keras_pg2.tasks.training.cross_entropy import Vocabulary
from tests.support.gradients import gradients_of
from tests.support.tiny_networks import random_backbone, random_inputs

VOCABULARY_SIZE = 60


@pytest.fixture(scope="module")
def rows():
    """Hidden states, table, labels and ragged weights: one row has no weight at all."""
    rng = np.random.default_rng(0)
    weights = np.zeros((4, 11), np.float32)
    weights[0, 4:9] = 1.0
    weights[1, 2:4] = 0.5
    weights[3, [0, 5, 10]] = 2.0, 0.25, 1.0
    return {
        "hidden": rng.normal(0, 1, (4, 11, 24)).astype("float32"),
        "table": rng.normal(0, 1, (VOCABULARY_SIZE, 24)).astype("float32"),
        "labels": rng.integers(0, VOCABULARY_SIZE, (4, 11)).astype("int32"),
        "weights": weights,
    }


def logits_by_numpy(rows, cap):
    logits = rows["hidden"].astype("float64") @ rows["table"].astype("float64").T
    return logits if cap is None else np.tanh(logits / cap) * cap


def parts_of(loss, rows, cap=None, training=True, weights="weights"):
    vocabulary = Vocabulary(ops.convert_to_tensor(rows["table"]), cap, True)
    hidden = ops.convert_to_tensor(rows["hidden"])
    weights = rows[weights] if isinstance(weights, str) else weights
    parts = loss.of_states(hidden, vocabulary, rows["labels"], weights, training)
    return parts._replace(**{k: float(v) for k, v in parts._asdict().items()})


@pytest.mark.parametrize("chunk_size", [1, 5, 7, 1000])
@pytest.mark.parametrize("training", [True, False])
def test_token_mean_is_that_of_torch(rows, chunk_size, training):
    import torch

    logits = torch.from_numpy(logits_by_numpy(rows, 5.0)).flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(rows["labels"]).long().flatten(), reduction="none"
    )
    weights = torch.from_numpy(rows["weights"]).double().flatten()
    expected = (losses * weights).sum() / weights.sum()
    loss = ResponseLoss(chunk_size=chunk_size)
    found = parts_of(loss, rows, 5.0, training)
    assert found.loss == pytest.approx(float(expected), rel=1e-6)
    assert found.loss_weight == pytest.approx(float(weights.sum()))
    assert found.accuracy_weight == pytest.approx(float(weights.sum()))


def test_logits_give_the_same_loss_and_that_of_keras(rows):
    logits = logits_by_numpy(rows, 5.0).astype("float32")
    keras_loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    expected = float(keras_loss(rows["labels"], logits, rows["weights"]))
    loss = ResponseLoss(chunk_size=5)
    assert float(loss(rows["labels"], logits, rows["weights"])) == pytest.approx(
        expected, rel=1e-6
    )
    assert parts_of(loss, rows, 5.0).loss == pytest.approx(expected, rel=1e-6)


def test_accuracy_counts_weighted_tokens(rows):
    likeliest = logits_by_numpy(rows, None).argmax(-1)
    rows = {**rows, "labels": rows["labels"].copy()}
    rows["labels"][:, ::2] = likeliest[:, ::2]
    is_right = likeliest == rows["labels"]
    expected = (is_right * rows["weights"]).sum() / rows["weights"].sum()
    assert 0.2 < expected < 0.9
    accuracy = parts_of(ResponseLoss(chunk_size=6), rows).accuracy
    assert accuracy == pytest.approx(expected, rel=1e-6)


def test_example_mean_by_hand():
    # A vocabulary of 2 with logits (x, -x): the loss of label 0 is log(1 + e^-2x).
    x = np.array([[[0.0], [1.0], [9.0]], [[2.0], [9.0], [9.0]]], np.float32)
    rows = {
        "hidden": x,
        "table": np.array([[1.0], [-1.0]], np.float32),
        "labels": np.zeros((2, 3), np.int32),
        "weights": np.array([[1, 1, 0], [1, 0, 0]], np.float32),
    }
    first = (np.log(2.0) + np.log1p(np.exp(-2.0))) / 2
    second = np.log1p(np.exp(-4.0))
    by_example = parts_of(ResponseLoss(reduction="example"), rows).loss
    assert by_example == pytest.approx((first + second) / 2, rel=1e-6)
    by_token = parts_of(ResponseLoss(reduction="token"), rows).loss
    assert by_token == pytest.approx((2 * first + second) / 3, rel=1e-6)
    # Examples have weights too.
    rows["weights"][1] *= 3
    by_example = parts_of(ResponseLoss(reduction="example"), rows).loss
    assert by_example == pytest.approx((first + 3 * second) / 4, rel=1e-6)
    # What they weigh: examples 1 and 3, and of tokens 1, 1 and 3.
    labels, weights = rows["labels"], rows["weights"]
    assert float(ResponseLoss(reduction="example").weight_of(labels, weights)) == 4
    assert float(ResponseLoss(reduction="token").weight_of(labels, weights)) == 5


def test_smoothing_gives_the_rest_to_the_other_tokens(rows):
    logits = logits_by_numpy(rows, None)
    targets = np.full(logits.shape, 0.1 / (VOCABULARY_SIZE - 1))
    np.put_along_axis(targets, rows["labels"][..., None], 0.9, axis=-1)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -(targets * log_probabilities).sum(-1)
    expected = (losses * rows["weights"]).sum() / rows["weights"].sum()
    found = parts_of(ResponseLoss(label_smoothing=0.1, chunk_size=5), rows).loss
    assert found == pytest.approx(expected, rel=1e-6)


def test_no_weights_are_ones_and_weights_of_examples_reach_their_tokens(rows):
    loss = ResponseLoss()
    ones = np.ones((4, 11), np.float32)
    of_ones = parts_of(loss, rows, weights=ones)
    assert parts_of(loss, rows, weights=None) == pytest.approx(of_ones)
    of_rows = np.array([1.0, 0.0, 2.0, 0.5], np.float32)
    by_token = parts_of(loss, rows, weights=ones * of_rows[:, None])
    assert parts_of(loss, rows, weights=of_rows) == pytest.approx(by_token)


def test_without_any_weight_the_loss_is_zero(rows):
    nothing = np.zeros((4, 11), np.float32)
    assert set(parts_of(ResponseLoss(), rows, weights=nothing)) == {0.0}


@pytest.mark.parametrize(
    ("reduction", "cap", "lora"),
    [("token", 3.0, False), ("example", None, False), ("example", 3.0, True)],
)
def test_gradients_are_those_of_all_logits(reduction, cap, lora):
    backbone = random_backbone(final_logit_soft_cap=cap)
    if lora:
        backbone.enable_lora(2)
        for variable in backbone.trainable_variables:
            if variable.name.startswith("lora"):
                noise = np.random.default_rng(1).normal(0, 0.3, variable.shape)
                variable.assign(noise.astype("float32"))
    inputs = random_inputs([7, 12, 9], num_responses=5)
    labels = np.roll(inputs["token_ids"], -1, axis=1)
    weights = np.roll(inputs["response_mask"], -1, axis=1).astype("float32")
    weights *= np.array([[0.5], [1.0], [2.0]], np.float32)
    assert weights.sum() > 0
    loss = ResponseLoss(0.2, reduction, chunk_size=7)
    decoder = backbone.text_decoder

    def hidden():
        return backbone(inputs)[:, -labels.shape[1] :]

    def in_chunks():
        is_trained = bool(decoder.token_embedding.trainable_variables)
        vocabulary = Vocabulary(decoder.vocabulary_table(), cap, is_trained)
        return loss.of_states(hidden(), vocabulary, labels, weights).loss

    def of_logits():
        return loss(labels, backbone.project_to_vocabulary(hidden()), weights)

    variables = backbone.trainable_variables
    found_loss, found = gradients_of(in_chunks, variables)
    expected_loss, expected = gradients_of(of_logits, variables)
    assert found_loss == pytest.approx(expected_loss, rel=1e-6)
    num_zero = 0
    for variable, ours, theirs in zip(variables, found, expected, strict=True):
        largest = np.abs(theirs).max()
        if variable.path.endswith("key_dense/bias"):
            # Adds the same to all logits of a softmax: no gradient, only rounding.
            largest = 1e-1
        num_zero += largest == 0
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=1e-5 * largest, err_msg=variable.path
        )
    assert num_zero == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "probability in"),
        ({"reduction": "mean"}, "mean over tokens"),
        ({"chunk_size": 0}, "number of tokens"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ResponseLoss(**options)


def test_config_round_trip():
    loss = ResponseLoss(0.1, "example", 32)
    config = keras.losses.serialize(loss)
    copy = keras.losses.deserialize(config)
    assert isinstance(copy, ResponseLoss)
    assert copy.get_config() == loss.get_config()
