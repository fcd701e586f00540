"""Which layers of a network get LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.parts import PARTS, check_parts

Targets = Sequence[str | re.Pattern[str]]


def dense_layers(backbone: PaliGemma2Backbone) -> dict[str, Dense]:
    """Every layer that LoRA can be added to, by its path."""
    shapes = variable_shapes(**backbone.architecture)
    paths = [path.rpartition("/")[0] for path in shapes if path.endswith("/kernel")]
    layers = {path: backbone.find(path) for path in paths}
    return {path: layer for path, layer in layers.items() if isinstance(layer, Dense)}


def default_targets(
    backbone: PaliGemma2Backbone, parts: Sequence[str] | None
) -> list[str]:
    """KerasHub's targets; the projection too where it is asked for by name."""
    targets = list(backbone.default_lora_layer_names())
    names = () if parts is None else check_parts(parts)
    if "projection" not in names:
        return targets
    return [*targets, "vision_projection"] if len(names) > 1 else ["vision_projection"]


def choose_layers(
    paths: Iterable[str], targets: Targets, parts: Sequence[str] | None = None
) -> list[str]:
    """The layers that targets mean.

    Args:
        paths: of all layers, such as "text_decoder/block_0/attention/query_dense".
        targets: each a layer's name ("query_dense"), the end of its path
            ("attention/query_dense"), either with `*`, `?` and `[...]`
            ("text_decoder/block_1?/*"), or a compiled regular expression that is
            searched in the path.
        parts: "vision_encoder", "projection", "text_decoder"; None for all.

    Returns:
        Paths in their order.

    Raises:
        ValueError: for an unknown part, or a target that no layer of the parts has.
    """
    if isinstance(targets, str | re.Pattern) or not targets:
        raise ValueError(
            'Expected a list of targets, such as ["query_dense", "value_dense"]. '
            f"Received: {targets!r}."
        )
    names = check_parts(PARTS if parts is None else parts)
    beginnings = tuple(PARTS[name] for name in names)
    candidates = [path for path in paths if path.split("/")[0] in beginnings]
    chosen: set[str] = set()
    for target in targets:
        matched = [path for path in candidates if _matches(path, target)]
        if not matched:
            raise ValueError(_no_match(target, candidates, parts))
        chosen.update(matched)
    return [path for path in candidates if path in chosen]


def _matches(path: str, target: str | re.Pattern[str]) -> bool:
    if isinstance(target, re.Pattern):
        return target.search(path) is not None
    return fnmatchcase(path, target) or fnmatchcase(path, f"*/{target}")


def _no_match(
    target: str | re.Pattern[str], paths: Sequence[str], parts: Sequence[str] | None
) -> str:
    where = "the model" if parts is None else f"parts {', '.join(parts)}"
    names = list(dict.fromkeys(path.rpartition("/")[2] for path in paths))
    word = target.pattern if isinstance(target, re.Pattern) else target
    near = get_close_matches(word, [*names, *paths], n=3, cutoff=0.5)
    advice = f"Near it: {', '.join(near)}. " if near else ""
    return (
        f"Expected targets that match dense layers of {where}. Received: {word!r}, "
        f"which matches none. {advice}Names are: {', '.join(names)}; paths are such as "
        f"{paths[0]}."
    )
