"""The numbers of a network: changing single ones, and counting weights from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def override_numbers(
    numbers: Mapping[str, Mapping[str, Any]], **overrides: Any
) -> dict[str, dict[str, Any]]:
    """Changes single numbers of a network.

    Args:
        numbers: {"vision_encoder": {...}, "text_decoder": {...}}, both complete.
        **overrides: numbers by name (`sliding_window=None`); a name that both
            parts have goes inside `vision_encoder={...}` or `text_decoder={...}`.

    Returns:
        New dictionaries with the overrides in them.

    Raises:
        TypeError: when a name is unknown, or is a number of both parts.
    """
    result = {part: dict(numbers[part]) for part in ("vision_encoder", "text_decoder")}
    for name, value in overrides.items():
        if name in result:
            changes, parts = dict(value), [name]
        else:
            changes, parts = {name: value}, [p for p in result if name in result[p]]
        if len(parts) == 2:
            raise TypeError(
                f"Both the vision encoder and the text decoder have {name!r}. Pass "
                f"vision_encoder={{{name!r}: ...}} or text_decoder={{{name!r}: ...}}."
            )
        unknown = [key for key in changes if not parts or key not in result[parts[0]]]
        if unknown:
            raise TypeError(
                f"Expected numbers of the network, received {', '.join(unknown)}. "
                f"Numbers are vision_encoder: {', '.join(result['vision_encoder'])}; "
                f"text_decoder: {', '.join(result['text_decoder'])}."
            )
        result[parts[0]].update(changes)
    return result


def count_parameters(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> int:
    """Number of weights of a backbone, from its numbers alone."""
    decoder_dim = text_decoder["hidden_dim"]
    projection = (vision_encoder["hidden_dim"] + 1) * decoder_dim
    return _count_vision(**vision_encoder) + projection + _count_text(text_decoder)


def _count_vision(
    image_size: int,
    patch_size: int,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int,
) -> int:
    patches = (3 * patch_size**2 + 1) * hidden_dim
    positions = (image_size // patch_size) ** 2 * hidden_dim
    norm = 2 * hidden_dim
    attention = 4 * (hidden_dim + 1) * hidden_dim
    mlp = 2 * hidden_dim * intermediate_dim + intermediate_dim + hidden_dim
    return patches + positions + num_layers * (2 * norm + attention + mlp) + norm


def _count_text(numbers: Mapping[str, Any]) -> int:
    width = numbers["hidden_dim"]
    num_heads = 2 * (numbers["num_query_heads"] + numbers["num_key_value_heads"])
    attention = num_heads * numbers["head_dim"] * width
    mlp = 3 * width * numbers["intermediate_dim"]
    norms = (4 if numbers["has_post_norms"] else 2) * width
    block = attention + mlp + norms
    return (numbers["vocabulary_size"] + 1) * width + numbers["num_layers"] * block
