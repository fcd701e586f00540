"""The same weights in KerasHub's backbone, on shapes where it is right.

Not right there: a query scale other than head_dim ** -0.5, which it ignores, and a
window smaller than the prefix, which it cuts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from tests.support.keras_hub_copy import copy_to_keras_hub
from tests.support.one_program import apply
from tests.support.tiny_networks import random_backbone, random_inputs

CAPS = {"attention_logit_soft_cap": 5.0, "final_logit_soft_cap": 30.0}
NO_CAPS = {"attention_logit_soft_cap": None, "final_logit_soft_cap": None}
SHAPES: dict[str, dict[str, Any]] = {
    # The window is smaller than the sequence (17), not than the prefix.
    "pali_gemma_2": {**CAPS, "query_pre_attn_scalar": 8, "sliding_window": 13},
    "pali_gemma_1": {
        **NO_CAPS,
        "query_pre_attn_scalar": 8,
        "num_key_value_heads": 1,
        "sliding_window": None,
        "has_post_norms": False,
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states(shape: str) -> None:
    ours = random_backbone(**SHAPES[shape])
    theirs = copy_to_keras_hub(ours)
    assert ours.count_params() == theirs.count_params()
    inputs = random_inputs([13, 6, 10], num_responses=5)
    hidden = ops.convert_to_numpy(apply(ours, inputs))
    as_integers = {
        name: value.astype("int32") if name.endswith("mask") else value
        for name, value in inputs.items()
    }
    their_hidden = ops.convert_to_numpy(apply(theirs, as_integers))
    image = np.ones((3, ours.num_image_tokens), bool)
    is_real = np.concatenate([image, inputs["padding_mask"]], axis=1)
    scale = np.abs(their_hidden[is_real]).max()
    np.testing.assert_allclose(
        hidden[is_real] / scale, their_hidden[is_real] / scale, atol=1e-5, rtol=0
    )
