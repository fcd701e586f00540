"""Names of the parts of a network and of their arguments, as callers give them."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from keras_pg2.checks.architecture import check_names

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


def check_arguments(part: str, layer: type, arguments: object) -> None:
    """Check the names of the arguments that a part of a network is built of.

    Args:
        part: "vision_encoder" or "text_decoder".
        layer: Class of the part.
        arguments: Arguments of the class by name.

    Raises:
        TypeError: if they are no mapping, or one is missing or unknown.
    """
    if not isinstance(arguments, Mapping):
        raise TypeError(
            f"Expected {part} as a dict of its arguments. Received: {arguments!r}. "
            "KerasHub's PaliGemmaBackbone takes them one by one; from_preset reads "
            "them from a preset."
        )
    parameters = inspect.signature(layer).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.name != "kwargs"]
    check_names(part, arguments, needed)
