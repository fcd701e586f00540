"""Running an exported LiteRT model: a picture and a prompt in, text out.

Needs `ai-edge-litert`, numpy, Pillow and sentencepiece; no Keras, TensorFlow, JAX or
PyTorch.

Axes: I image tokens, T text tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.checks.packages import import_packages
from keras_pg2.deploy.runners.files import (
    MOST_PARTS,
    Manifest,
    check_files,
    named_when_broken,
)
from keras_pg2.deploy.runners.runner import ExportedModel, RunnerState
from keras_pg2.files.json_fields import Fields

MANIFEST = "litert.json"
_ADVICE = (
    "Run: pip install 'keras-pg2[litert]', or without Keras: pip install "
    "ai-edge-litert numpy pillow sentencepiece"
)


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
        interpreter, sentencepiece = import_packages(
            "ai_edge_litert.interpreter", "sentencepiece", advice=_ADVICE
        )
        directory = Path(directory)
        super().__init__(
            directory, MANIFEST, "export_litert", _read_more, sentencepiece
        )
        files = self.manifest["files"]
        check_files(directory / MANIFEST, files, self._signature_names())
        num_threads = num_threads or os.cpu_count()
        self._signatures: dict[str, Callable[..., dict[str, np.ndarray]]] = {}
        for file in dict.fromkeys(files.values()):
            with named_when_broken(directory / file):
                loaded = interpreter.Interpreter(
                    str(directory / file), num_threads=num_threads
                )
                self._signatures |= {
                    name: loaded.get_signature_runner(name)
                    for name in files
                    if files[name] == file
                }

    def _signature_names(self) -> Iterator[str]:
        """Return the names of the signatures that are called."""
        yield from ("vision", "embedder", "logits")
        lengths = self.manifest["prefill_lengths"]
        for part in range(self.manifest["decoder_parts"]):
            yield f"decode_{part}"
            yield from (f"prefill_{n}_{part}" for n in lengths)

    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, D]."""
        return self._signatures["vision"](images=images)["image_features"]

    def prefill(
        self, image_features: np.ndarray, token_ids: Sequence[int]
    ) -> tuple[np.ndarray, RunnerState]:
        """Read image and prompt; ValueError if longer than the longest prefill."""
        lengths = self.manifest["prefill_lengths"]
        count = len(token_ids)
        length = next((n for n in lengths if n >= count), None)
        if length is None:
            raise ValueError(
                f"Expected a prompt of at most {max(lengths)} tokens. Received: "
                f"{count}. Shorten it, or export with longer prefill_lengths."
            )
        embeddings = [self._embed(token) for token in token_ids]
        padding = np.zeros_like(embeddings[0])
        rows = [image_features, *embeddings, *[padding] * (length - count)]
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


def _read_more(fields: Fields) -> Manifest:
    """Return parts of the decoder, and the lengths of prompts that it reads at once."""
    lengths = fields.items(
        "prefill_lengths", lambda f, i: f.integer(i, at_least=1, at_most=2**20)
    )
    if not 0 < len(lengths) <= MOST_PARTS:
        raise fields.error("prefill_lengths", f"1 to {MOST_PARTS} lengths")
    return {
        "decoder_parts": fields.integer(
            "decoder_parts", at_least=1, at_most=MOST_PARTS
        ),
        "prefill_lengths": lengths,
    }
