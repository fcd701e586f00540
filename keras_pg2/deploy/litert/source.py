"""What every LiteRT export reads from a model, and what it checks before."""

from __future__ import annotations

from types import ModuleType

import keras
import numpy as np

from keras_pg2.checks.packages import import_packages
from keras_pg2.conversion.from_model import ModelSource
from keras_pg2.deploy.litert.graph import LiteRTGraph
from keras_pg2.modeling import PaliGemma2Backbone

ANSWER_LENGTH = 128
"""Default number of answer tokens in the cache."""


def open_graph(tf: ModuleType, backbone: PaliGemma2Backbone) -> LiteRTGraph:
    """Return the network of a model of any backend, float32, LoRA merged.

    Args:
        tf: The module `tensorflow`.
        backbone: The model's network, which stays as it is.

    Raises:
        ValueError: if it is quantized.
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


def import_tensorflow() -> ModuleType:
    """Return `tensorflow`; raise ImportError if it or ai-edge-litert is missing."""
    tf, _ = import_packages(
        "tensorflow",
        "ai_edge_litert",
        advice="TensorFlow makes LiteRT files, whatever the backend (here "
        f"{keras.backend.backend()}), and ai-edge-litert verifies them. Run: pip "
        "install 'keras-pg2[tensorflow,litert]'",
    )
    return tf
