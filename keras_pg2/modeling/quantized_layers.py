"""Quantised layers of a network as a value: a map from their paths to policies.

KerasHub saves such a map as `dtype` of a backbone. Handed down to the layers, Keras
would not save them a second time, and would forget the type of the floats beside them;
here every layer has a policy of its own, and the map is for files alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras

from keras_pg2.typing import DTypePolicy


def split_policies(dtype: DTypePolicy) -> tuple[DTypePolicy, Mapping[str, DTypePolicy]]:
    """Return the policy of the floats, and those of quantised layers by path."""
    if isinstance(dtype, keras.dtype_policies.DTypePolicyMap):
        return dtype.default_policy, dict(dtype.items())
    return dtype, {}


def with_float_policy(serialized: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a serialised map of policies whose floats have another policy.

    Args:
        serialized: Serialised `keras.dtype_policies.DTypePolicyMap`.
        name: Name of the other policy, such as "bfloat16".
    """
    result = copy.deepcopy(dict(serialized))
    result["config"]["default_policy"] = name
    for policy in result["config"]["policy_map"].values():
        policy["config"]["source_name"] = name
    return result
