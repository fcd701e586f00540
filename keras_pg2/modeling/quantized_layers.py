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


def find_by_path(backbone: Any, path: str) -> Any:
    """A layer or weight of a backbone, such as "text_decoder/block_0/mlp"."""
    value: Any = backbone
    for name in path.split("/"):
        is_block = name.startswith("block_")
        value = value.blocks[int(name[6:])] if is_block else getattr(value, name)
    return value


def split_policies(dtype: Any) -> tuple[Any, Mapping[str, Any]]:
    """The policy of a network's floats, and those of its quantised layers by path."""
    if isinstance(dtype, keras.dtype_policies.DTypePolicyMap):
        return dtype.default_policy, dict(dtype.items())
    return dtype, {}


def with_float_policy(serialized: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A serialised map of policies whose floats are of another policy.

    Args:
        serialized: of a `keras.dtype_policies.DTypePolicyMap`.
        name: of the policy, such as "bfloat16".
    """
    result = copy.deepcopy(dict(serialized))
    result["config"]["default_policy"] = name
    for policy in result["config"]["policy_map"].values():
        policy["config"]["source_name"] = name
    return result
