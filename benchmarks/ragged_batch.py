"""Does a row of a batch get the tokens it gets alone? Ours and KerasHub's.

    KERAS_BACKEND=jax python -m benchmarks.ragged_batch

Both sides have the same random weights (a PaliGemma 1 shape, on which KerasHub's
forward pass is right) and the same prompts: batches of 8, all of different
length. Greedy decoding, float32.
"""

from __future__ import annotations

import argparse

import keras
import keras_hub
import numpy as np

from keras_pg2 import PaliGemma2CausalLM
from tests.support.keras_hub_copy import copy_to_keras_hub
from tests.support.tiny_networks import random_backbone, random_inputs

SHAPE = {
    "attention_logit_soft_cap": None,
    "final_logit_soft_cap": None,
    "query_pre_attn_scalar": 8,
    "num_key_value_heads": 1,
    "sliding_window": None,
    "has_post_norms": False,
}
NUM_ROWS, LONGEST_PROMPT, NUM_NEW_TOKENS = 8, 24, 8
TOTAL = LONGEST_PROMPT + NUM_NEW_TOKENS


def pad(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Text padded to `TOTAL` tokens, as KerasHub wants it without a preprocessor."""
    extra = TOTAL - inputs["token_ids"].shape[1]
    return {
        name: value if name == "images" else np.pad(value, ((0, 0), (0, extra)))
        for name, value in inputs.items()
    }


def generate_ours(task: PaliGemma2CausalLM, inputs: dict) -> list[list[int]]:
    """Tokens of each row, prompt included, up to NUM_NEW_TOKENS new ones."""
    result = task.generate(inputs, max_new_tokens=NUM_NEW_TOKENS, stop_token_ids=None)
    ids, mask = result["token_ids"], result["padding_mask"]
    return [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)]


def generate_keras_hub(
    task: keras_hub.models.CausalLM, inputs: dict
) -> list[list[int]]:
    """The same of KerasHub, which fills all rows to `TOTAL`."""
    lengths = inputs["padding_mask"].sum(axis=1)
    as_integers = {
        k: v.astype("int32") if "mask" in k else v for k, v in inputs.items()
    }
    result = task.generate(pad(as_integers), stop_token_ids=None)
    ids = keras.ops.convert_to_numpy(result["token_ids"])
    return [
        row[: n + NUM_NEW_TOKENS].tolist() for row, n in zip(ids, lengths, strict=True)
    ]


def count_differing_rows(generate, task, batches: list[dict]) -> int:
    """Rows whose tokens in the batch are not those of the row alone."""
    count = 0
    for inputs in batches:
        together = generate(task, inputs)
        for i, row in enumerate(together):
            length = int(inputs["padding_mask"][i].sum())
            alone = {
                name: value[i : i + 1]
                if name == "images"
                else value[i : i + 1, :length]
                for name, value in inputs.items()
            }
            count += generate(task, alone)[0] != row
    return count


def main() -> None:
    """Prints both counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=20)
    num_batches = parser.parse_args().batches
    rng = np.random.default_rng(0)
    batches = []
    for seed in range(num_batches):
        lengths = rng.permutation(np.arange(2, LONGEST_PROMPT + 1))[:NUM_ROWS]
        batches.append(random_inputs(lengths.tolist(), seed=seed))
    backbone = random_backbone(**SHAPE)
    sides = {
        "keras_pg2": (generate_ours, PaliGemma2CausalLM(backbone)),
        f"keras_hub {keras_hub.__version__}": (
            generate_keras_hub,
            keras_hub.models.PaliGemmaCausalLM(None, copy_to_keras_hub(backbone)),
        ),
    }
    print(f"backend {keras.config.backend()}, {num_batches} batches of {NUM_ROWS} rows")
    for name, (generate, task) in sides.items():
        differing = count_differing_rows(generate, task, batches)
        total = num_batches * NUM_ROWS
        print(f"{name:18} {differing:4} of {total} rows differ from the row alone")


if __name__ == "__main__":
    main()
