"""Samplers against the logits warpers of transformers, which ours replace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from keras import ops

from keras_pg2 import Sampler
from keras_pg2.generation import samplers

NUM_DRAWS = 4000


def expected_probabilities(logits: np.ndarray, sampler: Sampler) -> np.ndarray:
    """Of each token, as `generate(do_sample=True)` of transformers draws."""
    warpers = [transformers.TemperatureLogitsWarper(float(sampler.temperature))]
    if sampler.top_k is not None:
        warpers.append(transformers.TopKLogitsWarper(sampler.top_k))
    if sampler.top_p is not None:
        warpers.append(transformers.TopPLogitsWarper(sampler.top_p))
    scores = torch.tensor(logits[None])
    for warper in warpers:
        scores = warper(None, scores)
    return scores.softmax(dim=-1)[0].numpy()


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(temperature=1.0),
        Sampler(temperature=0.3),
        Sampler(temperature=2.5),
        Sampler(temperature=1.0, top_k=3),
        Sampler(temperature=0.7, top_k=40),
        Sampler(temperature=1.0, top_k=1000),
        Sampler(temperature=1.0, top_p=0.05),
        Sampler(temperature=1.5, top_p=0.9),
        Sampler(temperature=1.0, top_p=1.0),
        Sampler(temperature=0.8, top_k=20, top_p=0.6),
    ],
)
def test_tokens_are_drawn_by_the_probabilities_of_transformers(sampler):
    """Uniforms at even distances give each token its share of them."""
    logits = np.random.default_rng(3).normal(0, 2, 200).astype(np.float32)
    uniforms = (np.arange(NUM_DRAWS, dtype=np.float32) + 0.5) / NUM_DRAWS
    rows = np.broadcast_to(logits, (NUM_DRAWS, 200))
    tokens = ops.convert_to_numpy(
        sampler(*map(ops.convert_to_tensor, (rows, uniforms)))
    )
    shares = np.bincount(tokens, minlength=200) / NUM_DRAWS
    expected = expected_probabilities(logits, sampler)
    # Rounding at both ends of its interval.
    np.testing.assert_allclose(shares, expected, atol=2.5 / NUM_DRAWS)
    assert not shares[expected == 0].any()


@pytest.mark.parametrize("name", ["random", "top_k", "top_p"])
def test_names_are_the_samplers_of_keras_hub(name):
    """By the probabilities that KerasHub's own sampler gives a random generator."""
    import keras_hub

    theirs = {
        "random": keras_hub.samplers.RandomSampler,
        "top_k": keras_hub.samplers.TopKSampler,
        "top_p": keras_hub.samplers.TopPSampler,
    }[name]()
    assert samplers.get(theirs) == samplers.get(name)
