"""The architecture of a network: read, with other arguments, and as weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from keras_pg2.checks.architecture import KINDS, OPTIONAL, check_kinds, check_part
from keras_pg2.files.json_fields import Fields
from keras_pg2.typing import Architecture


def read_architecture(config: Fields) -> Architecture:
    """Return the architecture in a file of ours: a preset's, or the note of a .npz.

    Args:
        config: What has `vision_encoder` and `text_decoder`, each with all arguments.

    Raises:
        ValueError: if an argument is missing, unknown, of another kind or out of its
            range, or does not fit another.
    """
    architecture: Architecture = {}
    for part, kinds in KINDS.items():
        given = config.fields(part)
        check_known(given, kinds)
        names = [name for name in kinds if name in given or name not in OPTIONAL]
        architecture[part] = read_part(part, given, {name: name for name in names})
    return architecture


def read_part(part: str, fields: Fields, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a part of a network, each and together checked.

    Args:
        part: "vision_encoder" or "text_decoder".
        fields: Where they stand.
        names: What the fields are called, by the names of the arguments.

    Raises:
        ValueError: if one is missing, of another kind or out of its range, or does not
            fit another; in the words of the file.
    """
    numbers = {name: fields.value(theirs) for name, theirs in names.items()}
    check_part(part, numbers, fields.error, names)
    return numbers


def check_known(fields: Fields, known: Collection[str]) -> None:
    """Check that an object has no other fields than these.

    Raises:
        ValueError: naming one that is not known, and a similar name that is.
    """
    for name in fields:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise ValueError(
                f"Expected no {fields.at(name)[:80]!r} in {fields.source}, which this "
                "network does not have."
                + (f" Is it what is called {near[0]!r}?" if near else "")
            )


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Check arguments that stand in place of those of a file, each by itself.

    Args:
        overrides: As for `override_architecture`; unknown names are left to it.

    Raises:
        ValueError: if one is of another kind or out of its range.
    """
    for part, kinds in KINDS.items():
        inside = overrides.get(part)
        given = {**overrides, **(inside if isinstance(inside, Mapping) else {})}
        check_kinds(part, {n: value for n, value in given.items() if n in kinds})


def override_architecture(architecture: Architecture, **overrides: Any) -> Architecture:
    """Override single arguments of a network.

    Args:
        architecture: {"vision_encoder": {...}, "text_decoder": {...}}, both complete.
        **overrides: arguments by name (`sliding_window=None`); a name that both
            parts have goes inside `vision_encoder={...}` or `text_decoder={...}`.

    Returns:
        New dictionaries with the overrides in them.

    Raises:
        TypeError: when a name is unknown, or both parts have it.
        ValueError: when an argument is of another kind, out of its range, or does not
            fit another.
    """
    result = {
        part: dict(architecture[part]) for part in ("vision_encoder", "text_decoder")
    }
    for name, value in overrides.items():
        if name in result:
            if not isinstance(value, Mapping):
                raise TypeError(f"Expected {name} as a dict. Received: {value!r}.")
            changes, parts = dict(value), [name]
        else:
            changes = {name: value}
            parts = [part for part in result if name in KINDS[part]]
        if len(parts) == 2:
            raise TypeError(
                f"Both the vision encoder and the text decoder have {name!r}. Pass "
                f"vision_encoder={{{name!r}: ...}} or text_decoder={{{name!r}: ...}}."
            )
        known = KINDS[parts[0]] if parts else {}
        unknown = [key for key in changes if key not in known]
        if unknown:
            raise TypeError(
                f"Expected arguments of the network, received {', '.join(unknown)}. "
                f"They are vision_encoder: {', '.join(result['vision_encoder'])}; "
                f"text_decoder: {', '.join(result['text_decoder'])}."
            )
        result[parts[0]].update(changes)
    if overrides:
        for part, numbers in result.items():
            check_part(part, numbers)
    return result


def variable_shapes(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of a backbone by its path, from its architecture alone."""
    projection = _dense(vision_encoder["hidden_dim"], text_decoder["hidden_dim"])
    return {
        **_under("vision_encoder/", _vision_shapes(**vision_encoder)),
        **_under("vision_projection/", projection),
        **_under("text_decoder/", _text_shapes(text_decoder)),
    }


def num_image_tokens(image_size: int, patch_size: int, **others: object) -> int:
    """Tokens one picture becomes, from the arguments of a vision encoder."""
    return (image_size // patch_size) ** 2


def count_parameters(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> int:
    """Number of weights of a backbone, from its architecture alone."""
    return sum(map(math.prod, variable_shapes(vision_encoder, text_decoder).values()))


Shapes = dict[str, tuple[int, ...]]


def _vision_shapes(
    image_size: int,
    patch_size: int,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int,
) -> Shapes:
    norm: Shapes = {"gamma": (hidden_dim,), "beta": (hidden_dim,)}
    block: Shapes = {
        **_under("attention_norm/", norm),
        **_under("attention/query_dense/", _dense(hidden_dim, hidden_dim)),
        **_under("attention/key_dense/", _dense(hidden_dim, hidden_dim)),
        **_under("attention/value_dense/", _dense(hidden_dim, hidden_dim)),
        **_under("attention/output_dense/", _dense(hidden_dim, hidden_dim)),
        **_under("mlp_norm/", norm),
        **_under("mlp_up/", _dense(hidden_dim, intermediate_dim)),
        **_under("mlp_down/", _dense(intermediate_dim, hidden_dim)),
    }
    num_patches = num_image_tokens(image_size, patch_size)
    return {
        "patch_embedding/kernel": (patch_size, patch_size, 3, hidden_dim),
        "patch_embedding/bias": (hidden_dim,),
        "position_embedding/embeddings": (num_patches, hidden_dim),
        **_blocks(num_layers, block),
        **_under("final_norm/", norm),
    }


def _text_shapes(architecture: Mapping[str, Any]) -> Shapes:
    width, inner = architecture["hidden_dim"], architecture["intermediate_dim"]
    queries = architecture["num_query_heads"] * architecture["head_dim"]
    keys = architecture["num_key_value_heads"] * architecture["head_dim"]
    post_norms: Shapes = {
        "post_attention_norm/scale": (width,),
        "post_mlp_norm/scale": (width,),
    }
    block = {
        "pre_attention_norm/scale": (width,),
        "attention/query_dense/kernel": (width, queries),
        "attention/key_dense/kernel": (width, keys),
        "attention/value_dense/kernel": (width, keys),
        "attention/output_dense/kernel": (queries, width),
        "pre_mlp_norm/scale": (width,),
        "mlp/gate_dense/kernel": (width, inner),
        "mlp/up_dense/kernel": (width, inner),
        "mlp/down_dense/kernel": (inner, width),
        **(post_norms if architecture["has_post_norms"] else {}),
    }
    return {
        "token_embedding/embeddings": (architecture["vocabulary_size"], width),
        **_blocks(architecture["num_layers"], block),
        "final_norm/scale": (width,),
    }


def _dense(inputs: int, outputs: int) -> Shapes:
    return {"kernel": (inputs, outputs), "bias": (outputs,)}


def _blocks(num_layers: int, block: Shapes) -> Shapes:
    return {
        path: shape
        for i in range(num_layers)
        for path, shape in _under(f"block_{i}/", block).items()
    }


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + path: shape for path, shape in shapes.items()}
