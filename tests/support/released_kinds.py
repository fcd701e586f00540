"""Small networks of the released kinds, for the tests of formats."""

from __future__ import annotations

import numpy as np

from keras_pg2.conversion.tables.checkpoint import Checkpoint

KINDS: dict[str, dict[str, object]] = {
    "3b": {"query_pre_attn_scalar": 8, "num_layers": 2},
    # The scale is D / N and not head_dim.
    "28b": {"query_pre_attn_scalar": 6, "num_layers": 3},
    "pali_gemma_1": {
        "num_layers": 2,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 8,
        "attention_logit_soft_cap": None,
        "final_logit_soft_cap": None,
        "sliding_window": None,
        "has_post_norms": False,
    },
}


def values(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    return dict(checkpoint.variables())


def assert_same_weights(ours: Checkpoint, theirs: Checkpoint) -> None:
    """Every variable of both, bit by bit, whatever the type in the files."""
    mine, other = values(ours), values(theirs)
    assert mine.keys() == other.keys()
    for path, value in mine.items():
        np.testing.assert_array_equal(
            value.astype("float32"), other[path].astype("float32"), path
        )
