"""What every LiteRT export reads from a model, and what it checks before."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_pg2.conversion.from_model import ModelSource
from keras_pg2.deploy.litert.graph import LiteRTGraph

ANSWER_LENGTH = 128
"""Tokens of an answer that the cache has room for, where nothing else is said."""


def open_graph(tf: Any, backbone: Any) -> LiteRTGraph:
    """The network of a model of any backend, float32, LoRA merged into its kernels.

    Args:
        tf: the module `tensorflow`.
        backbone: the model's network, which stays as it is.

    Raises:
        ValueError: when it is quantised.
    """
    architecture = backbone.architecture
    source = ModelSource(backbone, architecture)

    def read(path: str) -> np.ndarray:
        value = source.read(path).astype(np.float32)
        is_projection = path.endswith("/kernel") and value.ndim == 2
        return np.ascontiguousarray(value.T) if is_projection else value

    return LiteRTGraph(tf, architecture, frozenset(source.keys()), read)


def check_cache_length(cache_length: int | None, longest_prompt: int) -> int:
    """The slots of the cache; ValueError when a prompt (image included) fills it."""
    if cache_length is None:
        return longest_prompt + ANSWER_LENGTH
    if not isinstance(cache_length, int) or cache_length <= longest_prompt:
        raise ValueError(
            "Expected cache_length to hold the image, the longest prompt and at least "
            f"one token of an answer: more than {longest_prompt}. Received: "
            f"{cache_length!r}."
        )
    return cache_length


def import_tensorflow() -> Any:
    """The module `tensorflow`; ImportError when it or ai-edge-litert is missing."""
    try:
        import ai_edge_litert  # noqa: F401
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"Expected the package {error.name}, which is not installed. TensorFlow "
            "makes LiteRT files, whatever the backend (here "
            f"{keras.backend.backend()}), and ai-edge-litert verifies them. Run: pip "
            "install 'keras-pg2[tensorflow,litert]'"
        ) from error
    return tf
