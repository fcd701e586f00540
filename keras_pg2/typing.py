"""Types that annotations across the package share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras

Tensor: TypeAlias = Any
"""A tensor of the running backend, or a symbolic `keras.KerasTensor`.

The backend decides its class, and Keras has no common base for them.
"""

DTypeLike: TypeAlias = "str | keras.dtype_policies.DTypePolicy | None"
"""A dtype policy or the name of one; None is Keras' global policy."""

Architecture: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Arguments of a backbone: {"vision_encoder": {...}, "text_decoder": {...}}."""
