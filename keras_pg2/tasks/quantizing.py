"""Quantised weights: of which layers, and what a preset can keep of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_pg2.catalogue.architecture import override_architecture, variable_shapes
from keras_pg2.conversion.keras.weight_files import INDEX_FILE, weight_files
from keras_pg2.files.json_files import read_json
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.parts import PARTS, check_parts
from keras_pg2.modeling.quantized_layers import with_float_policy
from keras_pg2.tasks.adapters.layers import dense_layers

MODES = ("int8", "int4")


def check_mode(mode: Any) -> None:
    """Raises ValueError for a mode that not every layer and every backend has."""
    if mode not in MODES:
        raise ValueError(
            f"Expected mode as one of {', '.join(MODES)}. Received: {mode!r}. Others "
            "of Keras: model.backbone.quantize(mode, ...), for a backbone in memory."
        )


def choose_layers(
    backbone: PaliGemma2Backbone,
    parts: Sequence[str] | None,
    filters: str | Sequence[str] | Callable[[Any], bool] | None,
) -> Callable[[Any], bool]:
    """A filter for Keras: the matrices of some parts, and the token embedding.

    Norms, biases, the patches' convolution and the position embedding stay floats.

    Raises:
        ValueError: for an unknown part, or when nothing is left.
    """
    names = check_parts(PARTS if parts is None else parts)
    beginnings = tuple(PARTS[name] for name in names)
    chosen = {
        id(layer)
        for path, layer in _matrices(backbone).items()
        if path.split("/")[0] in beginnings and _passes(path, layer, filters)
    }
    if not chosen:
        raise ValueError(
            f"Expected filters that leave layers to quantise. Received: {filters!r}. "
            "Names are such as query_dense, down_dense, token_embedding."
        )
    return lambda layer: id(layer) in chosen


def _matrices(backbone: PaliGemma2Backbone) -> dict[str, Any]:
    embedding = {"text_decoder/token_embedding": backbone.token_embedding}
    return {**dense_layers(backbone), **embedding}


def _passes(path: str, layer: Any, filters: Any) -> bool:
    if filters is None:
        return True
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return any(re.search(pattern, path) for pattern in patterns)


def check_can_save(backbone: PaliGemma2Backbone) -> None:
    """Raises ValueError when a preset would be read as another network."""
    for path, layer in _matrices(backbone).items():
        config = getattr(layer, "quantization_config", None)
        if layer.quantization_mode not in MODES or config is None:
            continue
        given, plain = config.get_config(), type(config)().get_config()
        for quantizer in ("weight_quantizer", "activation_quantizer"):
            if given[quantizer] != plain[quantizer]:
                raise ValueError(
                    f"Expected layers quantised by Keras' own quantizers, as Keras "
                    f"saves no others. Received: another {quantizer} in {path}. Save "
                    "the float model and quantise after loading."
                )


def load_quantized(
    directory: Path, dtype: Any, overrides: dict[str, Any]
) -> PaliGemma2Backbone:
    """A backbone of a quantised preset, its weights never held as floats.

    Args:
        directory: of `save_to_preset`.
        dtype: policy of what is not quantised; None for that of the preset.
        overrides: numbers of the network.

    Raises:
        FileNotFoundError, OSError: when weights are missing or damaged.
        ValueError: when numbers do not fit the weights.
    """
    files = weight_files(directory)
    config = read_json(directory / "config.json")["config"]
    architecture = override_architecture(config, **overrides)
    if variable_shapes(**architecture) != variable_shapes(
        **override_architecture(config)
    ):
        raise ValueError(
            f"Expected numbers that fit the weights in {directory}. Received: "
            f"{', '.join(overrides)} of another network. Leave them out."
        )
    policies = config["dtype"]
    if dtype is not None:
        policies = with_float_policy(policies, keras.dtype_policies.get(dtype).name)
    backbone = PaliGemma2Backbone(
        **architecture, dtype=keras.dtype_policies.get(policies)
    )
    index = directory / INDEX_FILE
    backbone.load_weights(str(index if index.is_file() else files[0]))
    return backbone
