"""Beam search against transformers' on the same weights: same tokens, same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from keras_pg2 import BeamSearch
from keras_pg2.tasks.causal_lm import PaliGemma2CausalLM
from tests.support.loaded import load_backbone
from tests.support.reference import (
    TEXT_CONFIGS,
    VOCABULARY_SIZE,
    build_model,
    random_batch,
)

NUM_TOKENS = 16
END_TOKENS = list(range(5, 60))
"""So many that beams end at different lengths, early ones among them."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("beams")
    model = build_model(TEXT_CONFIGS["3b"])
    # Softer than in other tests, so that beams compete.
    for name, parameter in model.named_parameters():
        if name.endswith("language_model.norm.weight"):
            parameter.data.mul_(0.4)
    model.save_pretrained(folder)

    def keep_real_rows(module, inputs, output):
        """Drops the rows that stand for no token of ours before the softmax."""
        output.logits = output.logits[..., :VOCABULARY_SIZE]
        return output

    model.register_forward_hook(keep_real_rows)
    return model, PaliGemma2CausalLM(load_backbone(folder), preprocessor=None)


OF_SEARCH = pytest.mark.one_backend("other numbers of the same search")


@pytest.mark.parametrize(
    ("num_beams", "length_penalty", "num_ends"),
    [
        (2, 1.0, 55),
        pytest.param(
            4, -1.0, 8, marks=pytest.mark.two_backends("other numbers of that search")
        ),
        pytest.param(1, 1.0, 1, marks=OF_SEARCH),
        pytest.param(3, 1.0, 8, marks=OF_SEARCH),
        pytest.param(4, 0.0, 55, marks=OF_SEARCH),
        pytest.param(3, 2.5, 55, marks=OF_SEARCH),
    ],
)
def test_sequences_and_scores(models, num_beams, length_penalty, num_ends):
    model, task = models
    ends = END_TOKENS[:num_ends]
    task.compile(sampler=BeamSearch(num_beams, length_penalty))
    num_early = 0
    for seed in range(4):
        batch = random_batch(prompts=[3, 12, 7], responses=[0, 0, 0], seed=seed)
        with torch.no_grad():
            theirs = model.generate(
                **batch.theirs,
                do_sample=False,
                num_beams=num_beams,
                length_penalty=length_penalty,
                max_new_tokens=NUM_TOKENS,
                eos_token_id=ends,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_scores=True,
            )
        ours = task.generate(
            batch.ours,
            max_new_tokens=NUM_TOKENS,
            stop_token_ids=ends,
            strip_prompt=True,
            return_scores=True,
        )
        lengths = ours["padding_mask"].sum(axis=1)
        num_early += int((lengths < NUM_TOKENS).sum())
        width = batch.theirs["input_ids"].shape[1]
        for row, length in enumerate(lengths):
            expected = theirs.sequences[row, width : width + length].numpy()
            np.testing.assert_array_equal(ours["token_ids"][row, :length], expected)
        if num_beams > 1:  # transformers gives no score of a greedy answer.
            totals = ours["log_probabilities"].sum(axis=1)
            scores = totals / lengths**length_penalty
            np.testing.assert_allclose(scores, theirs.sequences_scores, rtol=1e-4)
    assert num_early or num_ends < 55
