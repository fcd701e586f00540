"""Names of the parts of a network, as everything that takes parts takes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

PARTS = {
    "vision_encoder": "vision_encoder",
    "projection": "vision_projection",
    "text_decoder": "text_decoder",
}
"""Parts of a network, and where their paths begin."""
WITH_BLOCKS = ("vision_encoder", "text_decoder")
"""Parts that have blocks, whose activations can be checkpointed."""

_OTHER_NAMES = {
    "vision": "vision_encoder",
    "vision_projection": "projection",
    "decoder": "text_decoder",
}


def check_parts(
    parts: Iterable[str],
    name: str = "parts",
    known: Collection[str] = tuple(PARTS),
    *,
    may_be_empty: bool = False,
) -> tuple[str, ...]:
    """Return names of parts, each once, those of earlier versions as today's.

    Args:
        parts: Names among `known`; "vision", "vision_projection" and "decoder" are
            "vision_encoder", "projection" and "text_decoder".
        name: Name of the argument or option, for the message.
        known: Names that it may have.
        may_be_empty: Whether there may be none.

    Raises:
        ValueError: if `parts` is not a collection of known names.
    """
    is_list = isinstance(parts, Iterable) and not isinstance(parts, str)
    given = list(parts) if is_list else []
    names = tuple(dict.fromkeys(_OTHER_NAMES.get(part, part) for part in given))
    unknown = [str(part) for part in names if part not in known]
    if is_list and not unknown and (names or may_be_empty):
        return names
    near = get_close_matches(unknown[0], [*known, *_OTHER_NAMES], 1) if unknown else []
    advice = f" Did you mean {_OTHER_NAMES.get(near[0], near[0])!r}?" if near else ""
    raise ValueError(
        f"Expected {name} as a list of names among {', '.join(known)}"
        f"{', or () for none' if may_be_empty else ''}. Received: {parts!r}.{advice}"
    )
