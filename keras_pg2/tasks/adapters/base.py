"""Whether an adapter is for this model: its network beside the base of the adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from keras import ops

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.conversion.adapters.bases import (
    check_base,
    check_layers,
    kernel_shapes,
)
from keras_pg2.conversion.adapters.bases import describe_base as describe
from keras_pg2.conversion.adapters.files import Adapter, Base
from keras_pg2.conversion.adapters.opening import read_any
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.dense import Dense
from keras_pg2.modeling.lora import check_can_adapt
from keras_pg2.tasks.adapters.layers import dense_layers
from keras_pg2.typing import Tensor


def hub_name(name: str) -> str:
    """A preset's Hugging Face id, or its own name where it has none."""
    if name in PRESETS:
        return PRESETS[name].huggingface_id
    return name.removeprefix("hf://").partition("@")[0]


def describe_base(backbone: PaliGemma2Backbone, name: str) -> Base:
    """What an adapter remembers of its base.

    Kernels that are quantised have no hash. LoRA must not be merged.
    """
    architecture = backbone.architecture
    vectors = (
        (path, as_floats(backbone.find(path)))
        for path, shape in variable_shapes(**architecture).items()
        if len(shape) == 1
    )
    layers = dense_layers(backbone)
    is_quantized = any(layer.quantization_mode for layer in layers.values())
    return describe(
        name, architecture, vectors, None if is_quantized else _first_rows(layers)
    )


def _first_rows(layers: Mapping[str, Dense]) -> Iterator[tuple[str, np.ndarray]]:
    for path, layer in layers.items():
        yield path, as_floats(layer.base_kernel[0])


def as_floats(value: Tensor) -> np.ndarray:
    """Return float32 of the shape of a tensor."""
    floats: np.ndarray = ops.convert_to_numpy(ops.cast(value, "float32"))
    return floats


def open_adapter(
    path: Path, backbone: PaliGemma2Backbone, base_name: str | None
) -> Adapter:
    """Read a file of `write_adapter` or a directory of PEFT, and check it for a model.

    The model is not touched. Without the name of its checkpoint, `base_name`, the bases
    are not compared.

    Raises:
        FileNotFoundError, ValueError: as `Adapters.load`.
    """
    architecture = backbone.architecture
    adapter = read_any(path, architecture)
    layers = dense_layers(backbone)
    check_layers(adapter, kernel_shapes(architecture), path)
    check_can_adapt({each: layers[each] for each in adapter.layers})
    if base_name is not None:
        check_base(adapter, describe_base(backbone, base_name), path)
    return adapter


def check_nothing_else_trains(backbone: PaliGemma2Backbone, adapter: Adapter) -> None:
    """Raises ValueError when weights are trainable that an adapter does not hold."""
    layers = dense_layers(backbone)
    factors = {
        id(kernel)
        for path in adapter.layers
        for kernel in (layers[path].lora_kernel_a, layers[path].lora_kernel_b)
    }
    others = [v.path for v in backbone.trainable_variables if id(v) not in factors]
    if others:
        raise ValueError(
            "Expected only the adapter to be trainable, as its file keeps nothing "
            f"else. Received also: {', '.join(others[:4])} ({len(others)} such). Leave "
            "frozen what model.enable_lora froze, or use save_to_preset."
        )
