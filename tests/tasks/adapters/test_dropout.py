"""Dropout of LoRA: in training, in files, and by seed."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.dropout import Dropout, Noise
from tests.support.tiny_models import random_task

DATA = {
    "images": np.full((2, 28, 28, 3), 99, np.uint8),
    "prompts": ["caption en"] * 2,
    "responses": ["a red ball", "blue"],
}


@pytest.mark.parametrize("mode", [None, "int8"])
def test_the_input_of_a_is_dropped(mode: str | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (3, 5, 12)).astype("float32")
    layer = Dense(7)
    layer.build((None, None, 12))
    if mode is not None:
        layer.quantize(mode)
    plain = ops.convert_to_numpy(layer(x))
    layer.enable_lora(3, lora_alpha=6)
    layer.lora_kernel_b.assign(rng.normal(0, 1, (3, 7)))
    layer.lora_dropout = Dropout(Noise(), 0.5, 0)
    a, b = (ops.convert_to_numpy(v) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
    dropped = ops.convert_to_numpy(layer.lora_dropout(x, True))
    for training, given in ((True, dropped), (False, x)):
        np.testing.assert_allclose(
            ops.convert_to_numpy(layer(x, training=training)),
            plain + 2 * (given @ a @ b),
            atol=1e-4,
        )


def losses(dropout: float, seed: int) -> list[float]:
    keras.utils.set_random_seed(seed)
    task = random_task(sequence_length=24)
    task.enable_lora(2, parts=["vision", "decoder"], dropout=dropout)
    # Only the noise differs.
    rng = np.random.default_rng(0)
    for variable in task.trainable_variables:
        variable.assign(rng.normal(0, 0.2, variable.shape))
    task.backbone.checkpoint_activations = ("vision_encoder",)
    task.compile(keras.optimizers.SGD(1e-3))
    history = task.fit(DATA, batch_size=2, epochs=2, verbose=0, shuffle=False)
    result = task.evaluate(DATA, batch_size=2, verbose=0, return_dict=True)
    return [*history.history["loss"], result["loss"]]


@pytest.mark.eager
def test_seeds_reproduce() -> None:
    first = losses(0.4, 0)
    assert losses(0.4, 0) == pytest.approx(first, rel=1e-6)
    assert abs(losses(0.4, 1)[0] - first[0]) > 1e-4
    assert abs(losses(0.0, 0)[0] - first[0]) > 1e-4


def test_files_keep_it(tmp_path: Path) -> None:
    task = random_task()
    task.enable_lora(2, parts=["decoder"], dropout=0.05)
    task.adapters.save(tmp_path / "small.safetensors")
    task.adapters.export_to_peft(tmp_path / "peft")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert config["lora_dropout"] == 0.05
    for path in (tmp_path / "small.safetensors", tmp_path / "peft"):
        other = random_task()
        name = other.adapters.load(path)
        assert rates(other) == {0.05}
        other.adapters.activate("none")
        assert rates(other) == {None}
        other.adapters.activate(name)
        assert rates(other) == {0.05}
    with pytest.raises(ValueError, match=r"dropout 0.1. Pass another"):
        task.enable_lora(2, parts=["decoder"], dropout=0.1)
    with pytest.raises(ValueError, match=r"in \[0, 1\). Received: 1"):
        random_task().enable_lora(2, dropout=1)


def rates(task: PaliGemma2CausalLM) -> set[float | None]:
    drops = [
        layer.lora_dropout
        for block in task.backbone.text_decoder.blocks
        for layer in (block.attention.query_dense, block.attention.value_dense)
    ]
    return {None if drop is None else drop.rate for drop in drops}


@pytest.mark.two_backends("an argument; noise is drawn on all")
def test_a_number_of_the_decoder_in_from_preset(tmp_path: Path) -> None:
    task = random_task()
    task.enable_lora(2, parts=["projection"])
    task.adapters.save(tmp_path / "small.safetensors")
    task.adapters.delete("default")
    task.save_to_preset(tmp_path / "small")
    assert "dropout" not in (tmp_path / "small" / "config.json").read_text()
    dropping = PaliGemma2CausalLM.from_preset(tmp_path / "small", dropout=0.1)
    assert dropping.backbone.text_decoder.dropout == 0.1
    # The same base for adapters, the same answers.
    dropping.adapters.load(tmp_path / "small.safetensors")
    prompt = {**DATA, "prompts": "caption en", "images": DATA["images"][0]}
    del prompt["responses"]
    options = {"max_new_tokens": 4, "stop_token_ids": None}
    assert dropping.generate(prompt, **options) == task.generate(prompt, **options)
