"""Training in small types: what moves as in float32, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2Backbone, PaliGemma2CausalLM, estimate_memory
from tests.support.tiny_networks import TEXT_DECODER, VISION_ENCODER, randomize
from tests.support.unequal_answers import unequal_rows

ROWS = unequal_rows()


def model_of(dtype: str) -> PaliGemma2CausalLM:
    vision = {**VISION_ENCODER, "num_layers": 1}
    backbone = PaliGemma2Backbone(vision, TEXT_DECODER, dtype=dtype)
    randomize(backbone, seed=0)
    return PaliGemma2CausalLM(backbone)


def values(model: PaliGemma2CausalLM) -> dict[str, np.ndarray]:
    return {
        v.path: np.array(ops.convert_to_numpy(ops.cast(v, "float32")))
        for v in model.trainable_variables
    }


def moved(model: PaliGemma2CausalLM, num_steps: int = 20) -> np.ndarray:
    """Return what steps with the default optimizer add, all weights in one row."""
    before = values(model)
    for _ in range(num_steps):
        model.train_on_batch(*ROWS)
    after = values(model)
    return np.concatenate([(after[k] - before[k]).ravel() for k in sorted(before)])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.two_backends("Keras casts alike")
@pytest.mark.eager
def test_all_weights_move_in_mixed_bfloat16_as_in_float32():
    expected, found = moved(model_of("float32")), moved(model_of("mixed_bfloat16"))
    # Adam's steps are about as long as its rate, 2e-5.
    assert np.abs(found).mean() == pytest.approx(np.abs(expected).mean(), rel=0.1)
    assert np.abs(found).mean() > 1e-4
    assert cosine(found, expected) > 0.9


@pytest.mark.one_backend("the type of the factors")
def test_lora_moves_beside_bfloat16_weights_as_in_float32():
    found = []
    for dtype in ("float32", "bfloat16"):
        model = model_of(dtype)
        model.enable_lora(2)
        rng = np.random.default_rng(1)
        for variable in sorted(model.trainable_variables, key=lambda each: each.path):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        found.append(moved(model))
    assert cosine(*found) > 0.9


REFUSED = r"weights in float32.*mixed_bfloat16.*enable_lora"


def test_weights_in_bfloat16_are_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("bfloat16")

    def step(*arguments: Any) -> None:
        raise AssertionError("a step was begun")

    monkeypatch.setattr(model, "train_step", step)
    for optimizer in ("auto", "adamw", "sgd", "adafactor", "lion", "rmsprop"):
        model.compile(optimizer)
        with pytest.raises(ValueError, match=REFUSED):
            model.train_on_batch(*ROWS)
    with pytest.raises(ValueError, match=REFUSED):
        model.fit(
            ROWS.x,
            ROWS.y,
            sample_weight=ROWS.sample_weight,
            shuffle=False,
            verbose=0,
        )


@pytest.mark.one_backend("before anything is computed")
def test_parts_in_16_bits_are_not_trained_either():
    model = model_of("float16")
    model.backbone.trainable_parts = ("projection",)
    with pytest.raises(ValueError, match="mixed_float16"):
        model.train_on_batch(*ROWS)
    with pytest.raises(ValueError, match="mixed_float16"):
        estimate_memory(model, 1, 8)


@pytest.mark.eager
def test_weights_in_bfloat16_are_evaluated():
    found = model_of("bfloat16").test_on_batch(*ROWS, return_dict=True)
    expected = model_of("float32").test_on_batch(*ROWS, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.02)
