"""`Gemma2Decoder` beside the conventions of KerasHub's layers."""

from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.modeling.gemma2 import Gemma2Decoder
from tests.support.keras_hub_harness import (
    POLICIES,
    check_config,
    check_layer,
    check_name,
    check_policy,
    check_trains,
)
from tests.support.tiny_networks import TEXT_DECODER

# Embedding and final norm; a block: 4 norms, 4 products of attention, 3 of the MLP.
NUM_WEIGHTS = 2 + 11 * TEXT_DECODER["num_layers"]
WIDTH = TEXT_DECODER["hidden_dim"]


def make(dtype="float32") -> Gemma2Decoder:
    return Gemma2Decoder(**TEXT_DECODER, dtype=dtype)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    length = np.array([[6], [4]])
    return {
        "image_embeddings": rng.normal(0, 1, (2, 4, WIDTH)).astype(np.float32),
        "token_ids": rng.integers(4, 60, (2, 6)).astype(np.int32),
        "padding_mask": np.arange(6)[None] < length,
        "response_mask": (np.arange(6)[None] < length) & (np.arange(6)[None] > 2),
    }


def test_config():
    check_config(make())


def test_name():
    check_name(make())


def test_layer(inputs):
    check_layer(make, inputs, (2, 10, WIDTH), NUM_WEIGHTS)


def test_trains(inputs):
    check_trains(make(), inputs)


@pytest.mark.parametrize("policy", POLICIES)
def test_policy(inputs, policy):
    check_policy(
        make,
        policy,
        lambda layer: layer(**inputs),
        lambda layer: layer.compute_output_spec(**inputs),
    )
