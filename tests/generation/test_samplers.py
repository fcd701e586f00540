"""Samplers against hand-computed choices and known distributions."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_pg2.generation import samplers
from keras_pg2.generation.samplers import BeamSearch, Sampler

PROBABILITIES = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = np.log(PROBABILITIES).astype("float32")


def choose(sampler: Sampler, uniforms: list[float]) -> list[int]:
    logits = np.repeat(LOGITS[None], len(uniforms), 0)
    tokens = sampler(
        ops.convert_to_tensor(logits), ops.convert_to_tensor(uniforms, "float32")
    )
    return ops.convert_to_numpy(tokens).tolist()


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Sampler(), [1, 1, 1, 1, 1]),
        # The cumulative sums are 0.1, 0.5, 0.7, 1.0.
        (Sampler(temperature=1.0), [0, 1, 1, 3, 3]),
        # With a filter the likeliest come first: 0.4, 0.7, 0.9, 1.0.
        # 0.4 and 0.3 of 0.7: token 1 below 0.571, token 3 above.
        (Sampler(temperature=1.0, top_k=2), [1, 1, 1, 3, 3]),
        (Sampler(temperature=1.0, top_k=1), [1, 1, 1, 1, 1]),
        (Sampler(temperature=1.0, top_k=99), [1, 1, 3, 2, 0]),
        (Sampler(temperature=1e-5), [1, 1, 1, 1, 1]),
        (Sampler(temperature=1e-40), [1, 1, 1, 1, 1]),
        # 0.4 + 0.3 crosses 0.5: the same two tokens.
        (Sampler(temperature=1.0, top_p=0.5), [1, 1, 1, 3, 3]),
        (Sampler(temperature=1.0, top_p=0.3), [1, 1, 1, 1, 1]),
        # Squared probabilities 0.01, 0.16, 0.04, 0.09 of 0.30.
        (Sampler(temperature=0.5), [0, 1, 1, 3, 3]),
    ],
)
def test_choice_is_the_inverse_of_the_cumulative_distribution(sampler, expected):
    assert choose(sampler, [0.0, 0.3, 0.45, 0.8, 0.97]) == expected


@pytest.mark.parametrize("size", [2, 7, 96, 257_216])
def test_choice_in_a_vocabulary_of_any_size(size):
    rng = np.random.default_rng(size)
    logits = rng.normal(0, 3, (9, size)).astype("float32")
    logits[:, rng.random(size) < 0.5] = -np.inf
    logits[:, -1] = 0.5  # One is left.
    uniforms = np.linspace(0, 1, 9, endpoint=False, dtype="float32")
    tokens = Sampler(temperature=2.0)(
        ops.convert_to_tensor(logits), ops.convert_to_tensor(uniforms)
    )
    tokens = ops.convert_to_numpy(tokens)
    weights = np.exp(logits.astype("float64") / 2)
    sums = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
    for row, token in enumerate(tokens):
        assert weights[row, token] > 0
        # The uniform lies within the token's share, but for rounding.
        before = sums[row, token - 1] if token else 0.0
        assert before - 1e-6 <= uniforms[row] <= sums[row, token] + 1e-6


def test_sampled_frequencies_follow_the_probabilities():
    uniforms = Sampler(temperature=1.0, seed=3).draw_uniforms(20_000, 1)[:, 0]
    tokens = choose(Sampler(temperature=1.0), uniforms)
    frequencies = np.bincount(tokens, minlength=4) / len(tokens)
    np.testing.assert_allclose(frequencies, PROBABILITIES, atol=0.012)


def test_largest_uniform_never_chooses_a_filtered_token():
    almost_one = float(np.nextafter(np.float32(1), np.float32(0)))
    assert choose(Sampler(temperature=1.0, top_p=0.5), [almost_one]) == [3]


def test_seed_reproduces_and_differs():
    sampler = Sampler(temperature=1.0, seed=1)
    first = sampler.draw_uniforms(2, 3)
    np.testing.assert_array_equal(first, sampler.draw_uniforms(2, 3))
    np.testing.assert_array_equal(first, sampler.draw_uniforms(2, 5)[:, :3])
    np.testing.assert_array_equal(first, sampler.draw_uniforms(7, 3)[:2])
    assert not np.array_equal(first, sampler.draw_uniforms(2, 3, seed=2))


def test_keras_own_seed_makes_calls_without_a_seed_repeatable():
    sampler = Sampler(temperature=1.0)
    runs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        runs.append([sampler.draw_uniforms(2, 3) for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(*runs[0])


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("greedy", Sampler()),
        ("top_k", Sampler(temperature=1.0, top_k=5)),
        (keras_hub.samplers.GreedySampler(), Sampler()),
        (
            keras_hub.samplers.TopKSampler(k=7, temperature=0.5, seed=1),
            Sampler(temperature=0.5, top_k=7, seed=1),
        ),
        (
            keras_hub.samplers.TopPSampler(p=0.2, k=9, seed=2),
            Sampler(temperature=1.0, top_k=9, top_p=0.2, seed=2),
        ),
        (keras_hub.samplers.RandomSampler(seed=4), Sampler(temperature=1.0, seed=4)),
        ("beam", BeamSearch(num_beams=5, length_penalty=0.0)),
        (
            keras_hub.samplers.BeamSampler(num_beams=3),
            BeamSearch(num_beams=3, length_penalty=0.0),
        ),
    ],
)
def test_names_and_kerashub_samplers(identifier, expected):
    assert samplers.get(identifier) == expected


@pytest.mark.parametrize(
    "identifier", ["best", 3, keras_hub.samplers.ContrastiveSampler()]
)
def test_unknown_sampler(identifier):
    with pytest.raises(ValueError, match="Expected a sampler"):
        samplers.get(identifier)


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": -1.0},
        {"temperature": "hot"},
        {"temperature": float("inf")},
        {"seed": -1, "temperature": 1.0},
        {"seed": 1.5, "temperature": 1.0},
        {"top_p": "0.9", "temperature": 1.0},
        {"top_k": 0, "temperature": 1.0},
        {"top_k": 2.5, "temperature": 1.0},
        {"top_p": 0.0, "temperature": 1.0},
        {"top_p": 1.5, "temperature": 1.0},
        {"top_k": 5},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": 0},
    ],
)
def test_numbers_out_of_range(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Sampler(**parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"num_beams": 0},
        {"num_beams": None},
        {"length_penalty": float("nan")},
        {"length_penalty": "a"},
    ],
)
def test_numbers_of_beams_out_of_range(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        BeamSearch(**parameters)


def test_all_beams_cannot_be_returned():
    with pytest.raises(ValueError, match="return_all_beams=False"):
        samplers.get(keras_hub.samplers.BeamSampler(return_all_beams=True))


def test_numbers_are_inputs_and_no_structure():
    one = Sampler(temperature=0.7, top_p=0.9, seed=1, repetition_penalty=1.2)
    other = Sampler(temperature=1.3, top_p=0.2, seed=2, repetition_penalty=1.9)
    assert one.structure == other.structure
    assert one.parameters != other.parameters
    assert one.structure != Sampler(temperature=0.7).structure
    uniforms = ops.convert_to_tensor(np.linspace(0, 0.99, 50, dtype="float32"))
    logits = ops.convert_to_tensor(np.repeat(LOGITS[None], 50, 0))
    for sampler in (one, other):
        own = ops.convert_to_numpy(sampler(logits, uniforms))
        given = one.structure(logits, uniforms, sampler.parameters)
        np.testing.assert_array_equal(ops.convert_to_numpy(given), own)
