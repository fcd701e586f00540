"""Greedy decoding with our cache against transformers' `generate`."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from keras_pg2.tasks.causal_lm import PaliGemma2CausalLM
from tests.support.loaded import load_backbone
from tests.support.reference import (
    NUM_ROWS,
    TEXT_CONFIGS,
    VOCABULARY_SIZE,
    build_model,
    random_batch,
)

NUM_TOKENS = 32


OTHER_NUMBERS = pytest.mark.two_backends(
    "other numbers of the same program, whose logits test_transformers holds on all"
)


@pytest.mark.parametrize(
    "shape",
    [
        "3b",
        "pali_gemma_1",
        pytest.param("28b", marks=OTHER_NUMBERS),
        pytest.param("no_window", marks=OTHER_NUMBERS),
    ],
)
def test_greedy_tokens_of_a_ragged_batch(shape: str, tmp_path: Path) -> None:
    model = build_model(TEXT_CONFIGS[shape])
    model.save_pretrained(tmp_path)
    task = PaliGemma2CausalLM(load_backbone(tmp_path), preprocessor=None)
    batch = random_batch(prompts=[3, 12, 7], responses=[0, 0, 0])
    with torch.no_grad():
        generated = model.generate(
            **batch.theirs,
            do_sample=False,
            max_new_tokens=NUM_TOKENS,
            eos_token_id=None,
            # Rows of the table that stand for no token of ours.
            suppress_tokens=list(range(VOCABULARY_SIZE, NUM_ROWS)),
        )
    theirs = generated[:, -NUM_TOKENS:].numpy()
    result = task.generate(
        batch.ours, max_new_tokens=NUM_TOKENS, stop_token_ids=None, strip_prompt=True
    )
    ours = keras.ops.convert_to_numpy(result["token_ids"])
    # Models that repeat one token would agree by luck.
    assert len(np.unique(theirs)) > NUM_TOKENS // 2
    np.testing.assert_array_equal(ours, theirs)
