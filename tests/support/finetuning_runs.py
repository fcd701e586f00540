"""What the tests of this room train: a tiny model on random pictures."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from keras_pg2 import PaliGemma2CausalLM
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.mask_network import MaskNetwork, MaskNetworkConfig
from keras_pg2.datasets.rows import Row
from keras_pg2.finetuning import Settings, finetune
from tests.support.tiny_models import random_task

PROMPT = "answer en what is it?"


def make_rows(folder: Path, count: int) -> list[Row]:
    """Pictures with one of two answers each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        path = folder / f"{i:03d}.png"
        levels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(levels).save(path)
        answer = ("cat", "dog")[i % 2]
        rows.append({"images": str(path), "prompts": PROMPT, "responses": answer})
    return rows


def make_run(folder: Path) -> Path:
    """Train an adapter on the tiny preset `base` for two steps; return the run.

    The preset has a codec of masks, whose weights are random.
    """
    preset, run = folder / "base", folder / "run"
    keras.utils.set_random_seed(0)  # For the first factors.
    base = random_task()
    base.mask_codec = MaskCodec(MaskNetwork(MaskNetworkConfig(8, 16, (4, 4, 8, 8))))
    base.save_to_preset(preset)
    model = PaliGemma2CausalLM.from_preset(preset)
    model.enable_lora(2)
    rows = make_rows(folder / "pictures", 4)
    settings = Settings(epochs=2, batch_size=4, learning_rate=0.3, accumulate=1)
    finetune(model, rows, rows, settings, run, show_progress=False)
    return run


def make_model(
    rank: int | None = 2, parts: list[str] | None = None
) -> PaliGemma2CausalLM:
    """A model with LoRA whose factors are not 0, or (None) without LoRA."""
    model = random_task()
    if rank is not None:
        model.enable_lora(rank, ["query_dense", "value_dense"], parts=parts)
        rng = np.random.default_rng(1)
        for variable in sorted(model.trainable_variables, key=lambda each: each.path):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model
