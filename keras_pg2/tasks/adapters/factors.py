"""The LoRA factors that are in a network: read, written, added to the kernels.

They are those of Keras' own `Dense.enable_lora`, in float32 whatever the type of the
kernel. Nothing here knows the names of adapters, or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from keras_pg2.conversion.adapters.files import Factors
from keras_pg2.modeling.dense import Dense


def start_factors(
    layers: Mapping[str, Dense], paths: Sequence[str], rank: int, alpha: float
) -> None:
    """Gives some layers new factors, which add nothing yet, and no others any."""
    for layer in layers.values():
        layer.disable_lora()
    for path in paths:
        layers[path].enable_lora(rank, lora_alpha=alpha)


def read_factors(layer: Dense) -> Factors:
    """A layer's factors as they are now."""
    a, b = (
        np.array(ops.convert_to_numpy(kernel), np.float32)
        for kernel in (layer.lora_kernel_a, layer.lora_kernel_b)
    )
    return Factors(a, b, layer.lora_alpha)


def write_factors(layers: Mapping[str, Dense], factors: Mapping[str, Factors]) -> bool:
    """Makes the factors of a network those given; those of other layers become 0.

    Variables stay where ranks do, so that nothing is compiled again.

    Returns:
        Whether ranks or alphas of layers have changed, so that what is compiled is of
        no use.
    """
    has_changed = False
    for path, layer in layers.items():
        given = factors.get(path)
        if given is None:
            if layer.lora_enabled:
                _assign(layer, None)
            continue
        if not layer.lora_enabled or layer.lora_rank != given.rank:
            layer.disable_lora()
            layer.enable_lora(given.rank, lora_alpha=given.alpha)
            has_changed = True
        elif layer.lora_alpha != given.alpha:
            layer.lora_alpha = given.alpha
            has_changed = True
        _assign(layer, given)
    return has_changed


def _assign(layer: Dense, factors: Factors | None) -> None:
    for i, kernel in enumerate((layer.lora_kernel_a, layer.lora_kernel_b)):
        kernel.assign(np.zeros(kernel.shape) if factors is None else factors[i])
        kernel.trainable = factors is not None


def merge_factors(
    layers: Mapping[str, Dense], factors: Mapping[str, Factors], keep_kernels: bool
) -> dict[str, np.ndarray]:
    """Adds factors to the kernels and takes all of them out of the network.

    Returns:
        The kernels as they were, by the path of their layer; none when they are not
        to be kept.

    Raises:
        ValueError: when layers are quantised.
    """
    modes = [layer.quantization_mode for layer in layers.values()]
    if any(modes):
        raise ValueError(
            "Expected kernels of floats, to add the adapter to them. Received: "
            f"{next(filter(None, modes))}. Merge before `quantize`."
        )
    before = {}
    for path, given in factors.items():
        kernel = layers[path].base_kernel
        value = np.array(ops.convert_to_numpy(kernel))
        kernel.assign(value.astype(np.float32) + given.delta())
        if keep_kernels:
            before[path] = value
    for layer in layers.values():
        layer.disable_lora()
    return before
