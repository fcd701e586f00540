"""The task and the backbone as modules of PyTorch: one parameter for each weight."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from tests.support.tiny_models import random_task
from tests.support.tiny_networks import random_inputs

if keras.config.backend() != "torch":
    pytest.skip("PyTorch alone has modules", allow_module_level=True)

import torch


def plain() -> PaliGemma2CausalLM:
    return random_task()


def with_lora() -> PaliGemma2CausalLM:
    model = random_task()
    list(model.parameters())  # What was listed before must not be kept.
    model.enable_lora(2)
    return model


def quantized() -> PaliGemma2CausalLM:
    model = random_task()
    model.quantize("int8")
    return model


@pytest.mark.parametrize("make", [plain, with_lora, quantized])
def test_every_weight_is_one_parameter(make):
    model = make()
    for module in (model, model.backbone):
        expected = {id(weight.value) for weight in module.weights}
        assert {id(p) for p in module.parameters()} == expected
        assert len(list(module.parameters())) == len(module.weights)
        assert len(module.state_dict()) == len(module.weights)
        trainable = {id(weight.value) for weight in module.trainable_weights}
        learns = {id(p) for p in module.parameters() if p.requires_grad}
        assert trainable <= learns
    assert model.count_params() == sum(p.numel() for p in model.parameters())


def logits(model: PaliGemma2CausalLM) -> np.ndarray:
    return ops.convert_to_numpy(model(random_inputs([5, 3], num_responses=1)))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("make", [plain, with_lora])
def test_torch_saves_and_loads(make, assign):
    model, other = make(), make()
    for weight in other.weights:
        weight.assign(weight + 0.1)
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    assert np.abs(logits(model) - logits(other)).max() > 1e-2
    result = model.load_state_dict(torch.load(file), assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    np.testing.assert_array_equal(logits(model), logits(other))


def test_an_optimizer_of_torch_trains():
    model = random_task()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs = random_inputs([5, 3], num_responses=1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            model(inputs).flatten(0, 1), torch.arange(10)
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


def test_parameters_move_together():
    model = random_task()
    model.to(torch.float64)
    assert {weight.value.dtype for weight in model.weights} == {torch.float64}


def test_gradients_are_emptied_before_each_step():
    """Keras does so through PyTorch, also for factors that were added later."""
    model = random_task()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    pixels = np.zeros((1, 9, 9, 3), np.uint8)
    batch = {"images": pixels, "prompts": ["ocr"], "responses": ["blue"]}
    model.train_on_batch(batch)
    model.enable_lora(2)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    factor = next(v for v in model.trainable_variables if "kernel_b" in v.path)
    norms = []
    for _ in range(2):
        model.train_on_batch(batch)
        norms.append(factor.value.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) != 0
