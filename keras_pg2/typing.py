"""Types that annotations across the package share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras

Tensor: TypeAlias = Any
"""A tensor of the running backend, or a symbolic `keras.KerasTensor`.

The backend decides its class, and Keras has no common base for them.
"""

DTypePolicy: TypeAlias = "str | keras.DTypePolicy | None"
"""A dtype policy or its name; None for that of `keras.config`."""

Advance: TypeAlias = Callable[[int], None]
"""What is told the number of bytes of each block of weights when it is done."""

Architecture: TypeAlias = dict[str, dict[str, Any]]
"""Arguments of a backbone: {"vision_encoder": {...}, "text_decoder": {...}}."""
