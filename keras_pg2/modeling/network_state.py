"""What a network is besides its architecture and weights, for files of Keras.

That is where it has LoRA, what is frozen, and whose activations are computed again.
Archives (`.keras`), copies and pickles keep it; presets do not, as LoRA is part of
their kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keras_pg2.modeling.lora import lora_layers, set_lora_dropout

if TYPE_CHECKING:
    from keras_pg2.modeling.backbone import PaliGemma2Backbone


def get_state(backbone: PaliGemma2Backbone) -> dict[str, Any]:
    """Return the state for JSON; {} of a network as it is built.

    The keys are `lora` (rank, alpha and dropout by path of the layer), `trained`
    (paths of the weights that train, where not all do) and `checkpoint_activations`.
    """
    state: dict[str, Any] = {}
    layers = lora_layers(backbone)
    if layers:
        state["lora"] = {
            path: {
                "rank": layer.lora_rank,
                "alpha": layer.lora_alpha,
                "dropout": layer.lora_dropout.rate if layer.lora_dropout else 0.0,
            }
            for path, layer in layers.items()
        }
    trained = [weight.path for weight in backbone.trainable_weights]
    if len(trained) < len(backbone.weights):
        state["trained"] = trained
    if backbone.checkpoint_activations:
        state["checkpoint_activations"] = list(backbone.checkpoint_activations)
    return state


def set_state(backbone: PaliGemma2Backbone, state: Mapping[str, Any]) -> None:
    """Give a network as it is built the state of another.

    Raises:
        ValueError: if the network has no such layers.
    """
    lora = state.get("lora", {})
    for path, given in lora.items():
        backbone.find(path).enable_lora(given["rank"], given["alpha"])
    set_lora_dropout(backbone, {path: given["dropout"] for path, given in lora.items()})
    if "trained" in state:
        trained = set(state["trained"])
        for weight in backbone.weights:
            weight.trainable = weight.path in trained
    backbone.checkpoint_activations = state.get("checkpoint_activations", ())
