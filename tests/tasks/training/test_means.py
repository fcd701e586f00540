"""Losses and accuracies of many batches are means over tokens, as a loop has them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_pg2 import PaliGemma2CausalLM, ResponseLoss
from keras_pg2.tasks.training.compiled import Compiled
from tests.support.unequal_answers import (
    mean_loss,
    token_losses,
    unequal_model,
    unequal_rows,
)

ROWS = unequal_rows()


@pytest.fixture(scope="module")
def model() -> PaliGemma2CausalLM:
    return unequal_model()


@pytest.fixture(scope="module")
def logits(model) -> np.ndarray:
    return model.predict(ROWS.x, verbose=0)


@pytest.fixture(scope="module")
def losses(logits) -> np.ndarray:
    return token_losses(logits, ROWS.y)


def evaluate(model, batch_size: int, y: np.ndarray = ROWS.y) -> dict[str, float]:
    found = model.evaluate(
        ROWS.x,
        y,
        batch_size,
        verbose=0,
        sample_weight=ROWS.sample_weight,
        return_dict=True,
    )
    assert isinstance(found, dict)
    return found


@pytest.mark.eager
def test_evaluate_gives_one_number_whatever_the_batch(model, logits):
    y = ROWS.y.copy()
    y[:, ::2] = logits.argmax(-1)[:, ::2]
    losses, weights = token_losses(logits, y), ROWS.sample_weight
    is_right = logits.argmax(-1) == y
    accuracy = (is_right * weights).sum() / weights.sum()
    assert 0.2 < accuracy < 0.9
    expected = {"loss": mean_loss(losses, weights), "accuracy": accuracy}
    by_rows = np.mean([mean_loss(losses[[i]], weights[[i]]) for i in range(4)])
    assert by_rows != pytest.approx(expected["loss"], rel=1e-3)
    model.compile(weighted_metrics=["accuracy"])
    for batch_size in (1, 2, 3, 4):
        found = evaluate(model, batch_size, y)
        assert found == pytest.approx(expected, rel=1e-5), batch_size


@pytest.mark.eager
def test_evaluate_by_examples(model, losses):
    model.compile(loss=ResponseLoss(reduction="example"))
    expected = mean_loss(losses, ROWS.sample_weight, "example")
    assert expected != pytest.approx(mean_loss(losses, ROWS.sample_weight), rel=1e-3)
    for batch_size in (1, 3):
        assert evaluate(model, batch_size)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.eager
def test_history_of_fit(model, losses):
    """Compiled steps, those of validation too; a rate of 0 leaves the weights."""
    model.compile(keras.optimizers.SGD(0.0))
    weights = ROWS.sample_weight
    history = model.fit(
        ROWS.x,
        ROWS.y,
        batch_size=3,
        epochs=2,
        verbose=0,
        shuffle=False,
        sample_weight=weights,
        validation_data=ROWS,
        validation_batch_size=1,
    ).history
    expected = mean_loss(losses, weights)
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], expected, rtol=1e-5)
    logs = model.train_on_batch(*(_first_two(part) for part in ROWS), return_dict=True)
    expected = mean_loss(losses[:2], weights[:2])
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def _first_two(part):
    return keras.tree.map_structure(lambda array: array[:2], part)


@pytest.mark.one_backend("a sum; means are taken on all")
@pytest.mark.eager
def test_regularisers_are_added_to_the_mean(model, losses):
    kernel = model.backbone.vision_projection.kernel
    square = float(np.square(keras.ops.convert_to_numpy(kernel)).sum())
    expected = mean_loss(losses, ROWS.sample_weight) + 0.125 * square
    kernel.regularizer = keras.regularizers.L2(0.125)
    model.compile()
    found = [evaluate(model, batch_size)["loss"] for batch_size in (1, 3)]
    kernel.regularizer = None
    assert found == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.two_backends("the same weights; means are taken on all")
@pytest.mark.eager
def test_from_logits_too(model, losses):
    """Another metric needs logits, and the loss is ours all the same."""
    model.compile(
        loss=ResponseLoss(),
        weighted_metrics=[keras.metrics.SparseTopKCategoricalAccuracy(9, name="top")],
    )
    expected = mean_loss(losses, ROWS.sample_weight)
    found = evaluate(model, 3)
    assert found.keys() == {"loss", "top"}
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


class Twice(PaliGemma2CausalLM):
    """A model with a loss of its own."""

    def compute_loss(self, *arguments, **options):
        return 2 * super().compute_loss(*arguments, **options)


@pytest.mark.eager
@pytest.mark.one_backend("which mean is taken")
def test_other_losses_are_averaged_as_in_keras(model, losses):
    weights = ROWS.sample_weight
    # Of rows 0 to 2, then of row 3: by their numbers.
    parts = [mean_loss(losses[:3], weights[:3]), mean_loss(losses[3:], weights[3:])]
    expected = (3 * parts[0] + parts[1]) / 4
    keras_loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile(loss=keras_loss)
    assert evaluate(model, 3)["loss"] == pytest.approx(expected, rel=1e-5)
    twice = Twice(model.backbone)
    assert evaluate(twice, 3)["loss"] == pytest.approx(2 * expected, rel=1e-5)


@pytest.mark.eager
@pytest.mark.one_backend("how weights are counted")
def test_accuracy_of_a_subclass_counts_tokens_of_texts_of_any_length(model, logits):
    class Own(PaliGemma2CausalLM):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return super().compute_metrics(x, y, y_pred, sample_weight)

    y = ROWS.y.copy()
    y[:, ::2] = logits.argmax(-1)[:, ::2]
    own = Own(model.backbone)
    own.compile(weighted_metrics=["accuracy"])
    total = right = 0.0
    for row, length in ((1, 18), (3, 22)):
        labels, found = y[[row], :length], logits[[row], :length]
        weights = ROWS.sample_weight[[row], :length]
        logs = own.compute_metrics(ROWS.x, labels, found, weights)
        total += weights.sum()
        right += ((found.argmax(-1) == labels) * weights).sum()
    assert float(logs["accuracy"]) == pytest.approx(right / total, rel=1e-5)


@pytest.mark.one_backend("a dtype")
def test_means_are_float32_whatever_the_float_type_of_keras():
    """In bfloat16 a count ends at 256."""
    keras.config.set_floatx("bfloat16")
    try:
        compiled = Compiled(ResponseLoss(), ["accuracy"]).with_metrics()
    finally:
        keras.config.set_floatx("float32")
    for metric in (compiled.mean_loss, *compiled.accuracies):
        assert {v.dtype for v in metric.variables} == {"float32"}
