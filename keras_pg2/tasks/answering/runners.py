"""What runs an exported model, as the rest of the package sees it; without Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeGuard


class Runner(Protocol):
    """What runs an exported model: `keras_pg2.deploy.LiteRTModel`, `ONNXModel`."""

    manifest: dict[str, Any]
    mask_codec: Any

    @property
    def tokenizer(self) -> Any:
        """Its vocabulary."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that the network sees."""

    @property
    def generate(self) -> Callable[..., Any]:
        """The method that answers a prompt about a picture greedily."""

    @property
    def detect(self) -> Callable[..., Any]:
        """The method that finds things."""

    @property
    def segment(self) -> Callable[..., Any]:
        """The method that finds things with masks."""


def is_runner(model: object) -> TypeGuard[Runner]:
    """Return whether a value runs an exported model."""
    return hasattr(model, "manifest") and hasattr(model, "generate")
