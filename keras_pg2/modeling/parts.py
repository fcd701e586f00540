"""The parts of a network by the names that calls take."""

from __future__ import annotations

from collections.abc import Sequence

PARTS = {
    "vision": "vision_encoder",
    "projection": "vision_projection",
    "decoder": "text_decoder",
}
"""Parts of a model, and where their paths begin."""


def check_parts(parts: Sequence[str] | None) -> None:
    """Raises ValueError for anything but a list of parts, or None for all."""
    if parts is None:
        return
    unknown = [part for part in parts if part not in PARTS]
    if isinstance(parts, str) or unknown or not parts:
        raise ValueError(
            f"Expected a list of parts of {', '.join(PARTS)}. Received: {parts!r}."
        )
