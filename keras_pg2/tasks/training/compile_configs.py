"""Configurations of `compile` that were written on another backend."""

from __future__ import annotations

from typing import Any

_TORCH = "keras.src.backend.torch.optimizers"
_EVERYWHERE = "keras.optimizers"


def for_this_backend(config: Any) -> Any:
    """Name Keras' optimizers as all backends know them, in a nested configuration.

    On PyTorch Keras writes the modules of its classes for PyTorch, by which no other
    backend can train.
    """
    if isinstance(config, list):
        return [for_this_backend(each) for each in config]
    if not isinstance(config, dict):
        return config
    result = {name: for_this_backend(value) for name, value in config.items()}
    if str(result.get("module")).startswith(_TORCH):
        result["module"] = _EVERYWHERE
    return result
