"""Types that annotations across the package share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras

Tensor: TypeAlias = Any
"""A tensor of the running backend, or a symbolic `keras.KerasTensor`.

The backend decides its class, and Keras has no common base for them.
"""

DTypePolicy: TypeAlias = "str | keras.DTypePolicy | None"
"""A dtype policy or its name; None for that of `keras.config`."""

Architecture: TypeAlias = dict[str, dict[str, Any]]
"""Arguments of a backbone: {"vision_encoder": {...}, "text_decoder": {...}}."""
