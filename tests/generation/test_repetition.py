"""Repetition control against transformers' processors, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_pg2.generation.repetition import BANNED, ban_ngrams, penalize

VOCABULARY_SIZE = 6


def answers(num_tokens: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32[4, V] and tokens int32[4, 12], of which `num_tokens` count."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, VOCABULARY_SIZE)).astype("float32")
    tokens = rng.integers(0, VOCABULARY_SIZE, (4, 12)).astype("int32")
    tokens[:, num_tokens:] = 0
    return scores, tokens


def as_tensors(*arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


@pytest.mark.parametrize("num_tokens", [0, 1, 5, 12])
def test_penalty_is_that_of_transformers(num_tokens):
    import torch
    import transformers.generation.logits_process as processors

    scores, tokens = answers(num_tokens)
    theirs = processors.RepetitionPenaltyLogitsProcessor(1.7)(
        torch.tensor(tokens[:, :num_tokens]).long(), torch.tensor(scores)
    )
    ours = penalize(*as_tensors(scores, tokens, np.int32(num_tokens)), 1.7)
    np.testing.assert_allclose(ops.convert_to_numpy(ours), theirs, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("num_tokens", [0, 1, 2, 7, 12])
def test_banned_ngrams_are_those_of_transformers(num_tokens, size):
    import torch
    import transformers.generation.logits_process as processors

    for seed in range(5):
        scores, tokens = answers(num_tokens, seed)
        theirs = processors.NoRepeatNGramLogitsProcessor(size)(
            torch.tensor(tokens[:, :num_tokens]).long(), torch.tensor(scores)
        )
        ours = ban_ngrams(*as_tensors(scores, tokens, np.int32(num_tokens)), size)
        expected = np.where(np.isinf(theirs.numpy()), BANNED, theirs.numpy())
        np.testing.assert_allclose(ops.convert_to_numpy(ours), expected, rtol=1e-6)


def test_answers_shorter_than_the_ngram():
    scores, tokens = answers(2)
    ours = ban_ngrams(*as_tensors(scores, tokens[:, :2], np.int32(2)), 3)
    np.testing.assert_array_equal(ops.convert_to_numpy(ours), scores)
