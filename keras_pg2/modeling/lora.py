"""LoRA of a network: which layers have it, what it may be, and what is frozen.

Adapters by name are in `tasks/adapters/`; nothing here knows of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_pg2.checks.numbers import MAX_LORA_ALPHA
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.dropout import Dropout

if TYPE_CHECKING:
    from keras_pg2.modeling.backbone import PaliGemma2Backbone

# Keras multiplies by the factors in these; in the others it forgets them.
_WITH_LORA = (None, "int8", "int4")


def dense_by_path(backbone: PaliGemma2Backbone) -> dict[str, Dense]:
    """Return every layer that LoRA can be added to, by its path, in order of paths."""
    layers = backbone._flatten_layers(include_self=False)  # noqa: SLF001
    dense = {layer.path: layer for layer in layers if isinstance(layer, Dense)}
    return dict(sorted(dense.items()))


def lora_layers(backbone: PaliGemma2Backbone) -> dict[str, Dense]:
    """Return the layers with LoRA by path."""
    dense = dense_by_path(backbone)
    return {path: layer for path, layer in dense.items() if layer.lora_enabled}


def enable_lora(
    backbone: PaliGemma2Backbone, rank: int, names: Sequence[str] | None
) -> None:
    """Add LoRA to layers by name; see `PaliGemma2Backbone.enable_lora`."""
    check_rank(rank, rank)
    targets = list(names or backbone.default_lora_layer_names())
    dense = dense_by_path(backbone)
    known = {layer.name for layer in dense.values()}
    unknown = sorted(set(targets) - known)
    if unknown:
        raise ValueError(
            "Expected target_layer_names that dense layers have: "
            f"{', '.join(sorted(known))}. Received: {', '.join(unknown)}."
        )
    present = lora_layers(backbone)
    if present:
        raise ValueError(
            f"Expected a network without LoRA. Received: one with LoRA in "
            f"{len(present)} layers. PaliGemma2CausalLM.enable_lora takes a name for "
            "another adapter beside it."
        )
    chosen = {path: layer for path, layer in dense.items() if layer.name in targets}
    check_can_adapt(chosen)
    # KerasHub would train biases of these layers too, and not save them.
    freeze(backbone)
    for layer in chosen.values():
        layer.enable_lora(rank)


def freeze(backbone: PaliGemma2Backbone) -> None:
    """Freeze all variables but leave layers trainable, so that LoRA added later is."""
    backbone.trainable = True
    for variable in backbone.variables:
        variable.trainable = False


def set_lora_dropout(backbone: PaliGemma2Backbone, rates: Mapping[str, float]) -> None:
    """Set the dropout of the factors' inputs by path of the layer; 0 elsewhere."""
    # Indices that no dropout of a block has.
    first = 2 * len(backbone.text_decoder.blocks)
    for i, (path, layer) in enumerate(dense_by_path(backbone).items()):
        rate = rates.get(path, 0.0)
        drop = Dropout(backbone.text_decoder.noise, rate, first + i) if rate else None
        layer.lora_dropout = drop


def check_rank(rank: int, alpha: float) -> None:
    """Raise TypeError or ValueError if rank or alpha is no number above 0."""
    for name, value in {"rank": rank, "alpha": alpha}.items():
        kinds = int if name == "rank" else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(
                f"Expected {name} to be a{'n integer' if name == 'rank' else ' number'}"
                f". Received: {value!r}."
            )
        if not 0 < value < math.inf:
            raise ValueError(f"Expected {name} to be above 0. Received: {value}.")
    if alpha > MAX_LORA_ALPHA:
        raise ValueError(
            f"Expected alpha of at most {MAX_LORA_ALPHA:g}. Received: {alpha}."
        )


def check_can_adapt(layers: Mapping[str, Dense]) -> None:
    """Raise ValueError if layers are quantized in a way that LoRA does not work."""
    wrong = {
        path: layer.quantization_mode
        for path, layer in layers.items()
        if layer.quantization_mode not in _WITH_LORA
    }
    if wrong:
        path, mode = next(iter(wrong.items()))
        raise ValueError(
            "Expected layers of float weights, int8 or int4 for LoRA. Received: "
            f"{mode} in {len(wrong)} layers ({path}, ...). Enable LoRA on the model "
            "before it is quantised."
        )
