"""Quantised weights: of which layers, and what a preset can keep of them."""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import keras

from keras_pg2.checks.dtypes import INTEGERS, check_dtype
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.parts import PARTS, check_parts
from keras_pg2.tasks.adapters.layers import dense_layers

_ADVICE = (
    "Others of Keras: model.backbone.quantize(mode, ...), for a backbone in memory."
)

Filters: TypeAlias = "str | Sequence[str] | Callable[[keras.layers.Layer], bool] | None"
"""Patterns of paths of layers, or a predicate of a layer; None for all."""


def check_mode(mode: str) -> str:
    """Return the long name of a mode that every layer and every backend has.

    Raises:
        ValueError: if it is another one.
    """
    return check_dtype(mode, INTEGERS, "mode", _ADVICE)


def choose_layers(
    backbone: PaliGemma2Backbone, parts: Sequence[str] | None, filters: Filters
) -> Callable[[keras.layers.Layer], bool]:
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


def _matrices(backbone: PaliGemma2Backbone) -> dict[str, keras.layers.Layer]:
    embedding = {"text_decoder/token_embedding": backbone.token_embedding}
    return {**dense_layers(backbone), **embedding}


def _passes(path: str, layer: keras.layers.Layer, filters: Filters) -> bool:
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
        if layer.quantization_mode not in INTEGERS or config is None:
            continue
        given, plain = config.get_config(), type(config)().get_config()
        for quantizer in ("weight_quantizer", "activation_quantizer"):
            if given[quantizer] != plain[quantizer]:
                raise ValueError(
                    f"Expected layers quantised by Keras' own quantizers, as Keras "
                    f"saves no others. Received: another {quantizer} in {path}. Save "
                    "the float model and quantise after loading."
                )


def without_report(quantize: Callable[..., Any]) -> dict[str, Any]:
    """Return options for a model's `quantize` that keep it from printing.

    From 3.16 on Keras prints a line for each layer where nobody says otherwise; before,
    it has no such option.
    """
    is_known = "verbose" in inspect.signature(quantize).parameters
    return {"verbose": False} if is_known else {}


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Freeze existing objects so that collections inside the block skip them.

    Keras collects after each layer that it quantises, for most of a second each time.
    """
    was_frozen = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        # What the caller had frozen cannot be told apart, and stays so.
        if not was_frozen:
            gc.unfreeze()
