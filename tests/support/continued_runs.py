"""A training run of a tiny model with LoRA that is stopped and continued.

As a program it is the first half of a run on another backend:
`python -m tests.support.continued_runs FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_pg2 import PaliGemma2CausalLM
from tests.support.tiny_models import random_task

RNG = np.random.default_rng(0)
DATA = {
    "images": RNG.integers(0, 256, (2, 28, 28, 3), dtype=np.uint8),
    "prompts": ["caption en", "answer en what?"],
    "responses": ["a red ball", "blue"],
}
EPOCHS = 4
STOP = 2
WEIGHTS, ARCHIVE, LOSSES = "half.weights.h5", "half.keras", "losses.json"


def start(optimizer: str = "adam") -> PaliGemma2CausalLM:
    """A compiled model with LoRA of rank 2 and alpha 3, the same on each call."""
    model = random_task(sequence_length=24, num_layers=1)
    model.enable_lora(2, alpha=3, name="ours")
    rng = np.random.default_rng(1)
    for variable in sorted(model.trainable_variables, key=lambda each: each.path):
        if variable.path.endswith("_a"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    compile_for(model, optimizer)
    return model


def compile_for(model: PaliGemma2CausalLM, optimizer: str = "adam") -> None:
    rates = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    model.compile(optimizer=rates[optimizer](1e-2))


def fit(model: PaliGemma2CausalLM, first: int, last: int, **options: Any) -> list:
    """Train on from epoch `first` to `last`; returns a loss for each epoch."""
    history = model.fit(
        DATA,
        batch_size=2,
        initial_epoch=first,
        epochs=last,
        shuffle=False,
        verbose=0,
        **options,
    )
    return history.history["loss"]


def main() -> None:
    folder = Path(sys.argv[1])
    model = start()
    losses = fit(model, 0, STOP)
    model.save_weights(folder / WEIGHTS)
    model.save(folder / ARCHIVE)
    losses += fit(model, STOP, EPOCHS)
    (folder / LOSSES).write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
