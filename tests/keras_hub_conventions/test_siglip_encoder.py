"""`SigLIPEncoder` beside the conventions of KerasHub's layers."""

from __future__ import annotations

import numpy as np
import pytest

from keras_pg2.modeling.siglip import SigLIPEncoder
from tests.support.keras_hub_harness import (
    POLICIES,
    check_config,
    check_layer,
    check_policy,
    check_trains,
)
from tests.support.tiny_networks import VISION_ENCODER

# Patches 2, positions 1, final norm 2; a block: 2 norms of 2, 6 dense layers of 2.
NUM_WEIGHTS = 5 + 16 * VISION_ENCODER["num_layers"]


def make(dtype="float32") -> SigLIPEncoder:
    return SigLIPEncoder(**VISION_ENCODER, dtype=dtype)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 28, 28, 3))
    return {"images": images.astype(np.float32)}


def test_config():
    check_config(make())


def test_name():
    assert make().name.startswith("sig_lip_encoder")


def test_layer(inputs):
    check_layer(make, inputs, (2, 4, VISION_ENCODER["hidden_dim"]), NUM_WEIGHTS)


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
