"""Types that annotations across the package share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the running backend, or a symbolic `keras.KerasTensor`.

The backend decides its class, and Keras has no common base for them.
"""

Architecture: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Arguments of a backbone: {"vision_encoder": {...}, "text_decoder": {...}}."""
