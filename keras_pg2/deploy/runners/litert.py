"""Running an exported LiteRT model: a picture and a prompt in, text out.

Needs `ai-edge-litert`, numpy, Pillow and sentencepiece; no Keras, TensorFlow, JAX or
PyTorch.

Axes: I image tokens, T text tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.deploy.runners.files import check_names, named_when_broken
from keras_pg2.deploy.runners.runner import ExportedModel, RunnerState

MANIFEST = "litert.json"
KEYS = ("decoder_parts", "prefill_lengths")


class LiteRTModel(ExportedModel):
    """A model that `export_litert` wrote.

    Args:
        directory: what `export_litert` wrote.
        num_threads: of the CPU; None is one for each core.

    Attributes:
        manifest: what is in `litert.json`: sizes, lengths, special tokens.

    Raises:
        FileNotFoundError: when the directory or a file of it is not there.
        ImportError: when `ai-edge-litert` or `sentencepiece` is not installed.
        ValueError: when a file is empty, cut or of something else, or `num_threads` is
            no whole number >= 1.
    """

    def __init__(
        self, directory: str | os.PathLike[str], num_threads: int | None = None
    ) -> None:
        if num_threads is not None:
            num_threads = check_at_least_one("num_threads", num_threads, ", or None")
        interpreter, sentencepiece = _import_runtime()
        directory = Path(directory)
        super().__init__(directory, MANIFEST, "export_litert", KEYS, sentencepiece)
        check_names(directory / MANIFEST, self.manifest["files"], self._names())
        self._signatures = {}
        for file in dict.fromkeys(self.manifest["files"].values()):
            with named_when_broken(directory / file):
                found = interpreter.Interpreter(
                    str(directory / file), num_threads=num_threads or os.cpu_count()
                )
                for signature, holder in self.manifest["files"].items():
                    if holder == file:
                        runner = found.get_signature_runner(signature)
                        self._signatures[signature] = runner

    def _names(self) -> list[str]:
        """The signatures that are called."""
        lengths = self.manifest["prefill_lengths"]
        steps = ("decode", *(f"prefill_{n}" for n in lengths))
        parts = range(self.manifest["decoder_parts"])
        whole = ["vision", "embedder", "logits"]
        return whole + [f"{step}_{part}" for step in steps for part in parts]

    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, D]."""
        return self._signatures["vision"](images=images)["image_features"]

    def prefill(
        self, image_features: np.ndarray, token_ids: Sequence[int]
    ) -> tuple[np.ndarray, RunnerState]:
        """Reads image and prompt.

        Returns:
            float32[V] logits of the first token, and the state.

        Raises:
            ValueError: when the prompt is longer than the longest prefill.
        """
        lengths = self.manifest["prefill_lengths"]
        count = len(token_ids)
        length = next((n for n in lengths if n >= count), None)
        if length is None:
            raise ValueError(
                f"Expected a prompt of at most {max(lengths)} tokens. Received: "
                f"{count}. Shorten it, or export with longer prefill_lengths."
            )
        vectors = [self._embed(token) for token in token_ids]
        padding = np.zeros_like(vectors[0])
        rows = [image_features, *vectors, *[padding] * (length - count)]
        hidden = np.concatenate(rows, axis=1, dtype=np.float32)
        end = image_features.shape[1] + count
        caches = []
        for part in range(self.manifest["decoder_parts"]):
            cache = self._signatures[f"prefill_{length}_{part}"](
                hidden=hidden, num_tokens=np.array([count], np.int32)
            )
            hidden = cache.pop("hidden")
            caches.append(cache)
        return self._logits(hidden[:, end - 1 : end]), RunnerState(end, tuple(caches))

    def decode(self, token: int, state: RunnerState) -> tuple[np.ndarray, RunnerState]:
        """Reads one more token: float32[V] logits of the next, and the state."""
        hidden, position = self._embed(token), np.array([state.position], np.int32)
        caches = []
        for part, cache in enumerate(state.caches):
            cache = self._signatures[f"decode_{part}"](
                hidden=hidden, position=position, **cache
            )
            hidden = cache.pop("hidden")
            caches.append(cache)
        return self._logits(hidden), RunnerState(state.position + 1, tuple(caches))

    def _embed(self, token: int) -> np.ndarray:
        ids = np.array([[token]], np.int32)
        return self._signatures["embedder"](token_ids=ids)["embeddings"]

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        return self._signatures["logits"](hidden=hidden)["logits"][0]


def _import_runtime() -> tuple[Any, Any]:
    try:
        import sentencepiece
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ImportError(
            f"Expected the package {error.name}, which is not installed. "
            "Run: pip install 'keras-pg2[litert]', or without Keras: pip install "
            "ai-edge-litert numpy pillow sentencepiece"
        ) from error
    return interpreter, sentencepiece
