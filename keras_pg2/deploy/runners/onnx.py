"""Running exported ONNX files: a picture and a prompt in, text out.

Needs `onnxruntime`, numpy, Pillow and sentencepiece; no Keras, TensorFlow, JAX or
PyTorch.

Axes: I image tokens, T text tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, OrtValue, SessionOptions

MANIFEST = "onnx.json"
_ADVICE = (
    "Run: pip install 'keras-pg2[onnx]', or without Keras: pip install "
    "onnxruntime numpy pillow sentencepiece"
)
GRAPHS = ("vision_encoder", "embed_tokens", "decoder_model_merged")


class ONNXModel(ExportedModel):
    """A model that `export_onnx` wrote.

    Args:
        directory: what `export_onnx` wrote.
        num_threads: of the CPU; None is one for each core.

    Attributes:
        manifest: what is in `onnx.json`: sizes, lengths, special tokens.

    Raises:
        FileNotFoundError: when the directory or a file of it is not there.
        ImportError: when `onnxruntime` or `sentencepiece` is not installed.
        ValueError: when a file is empty, cut or of something else, or `num_threads` is
            no whole number >= 1.
    """

    def __init__(
        self, directory: str | os.PathLike[str], num_threads: int | None = None
    ) -> None:
        if num_threads is not None:
            num_threads = check_at_least_one("num_threads", num_threads, ", or None")
        self._onnxruntime, sentencepiece = import_packages(
            "onnxruntime", "sentencepiece", advice=_ADVICE
        )
        directory = Path(directory)
        super().__init__(directory, MANIFEST, "export_onnx", _read_more, sentencepiece)
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0
        files = self.manifest["files"]
        check_files(directory / MANIFEST, files, GRAPHS)
        self._vision, self._embedder, self._decoder = (
            self._open(directory / files[name], options) for name in GRAPHS
        )

    def _open(self, path: Path, options: SessionOptions) -> InferenceSession:
        """A graph; its weights are in the files beside it."""
        weights = sorted(path.parent.glob(f"{path.name}_data*"))
        with named_when_broken(path, *weights):
            return self._onnxruntime.InferenceSession(
                str(path), options, ["CPUExecutionProvider"]
            )

    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, D]."""
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        [features] = self._vision.run(None, {"pixel_values": pixels})
        return features

    def prefill(
        self, image_features: np.ndarray, token_ids: Sequence[int]
    ) -> tuple[np.ndarray, RunnerState]:
        """Read image and prompt; ValueError if longer than the context."""
        length = image_features.shape[1] + len(token_ids)
        if length > self.manifest["cache_length"]:
            raise ValueError(
                "Expected an image and a prompt of at most "
                f"{self.manifest['cache_length']} tokens. Received: {length}. Shorten "
                "the prompt."
            )
        rows = [image_features, self._embed(token_ids)]
        empty = np.zeros(self.manifest["cache_shape"], np.float32)
        caches = {
            f"past_key_values.{i}.{name}": self._value(empty)
            for i in range(self.manifest["num_layers"])
            for name in ("key", "value")
        }
        embeddings = np.concatenate(rows, axis=1, dtype=np.float32)
        return self._read(embeddings, RunnerState(0, caches))

    def decode(self, token: int, state: RunnerState) -> tuple[np.ndarray, RunnerState]:
        """Reads one more token: float32[V] logits of the next, and the state."""
        return self._read(self._embed([token]), state)

    def _embed(self, token_ids: Sequence[int]) -> np.ndarray:
        ids = np.array([token_ids], np.int64)
        [embeddings] = self._embedder.run(None, {"input_ids": ids})
        return embeddings

    def _read(
        self, embeddings: np.ndarray, state: RunnerState
    ) -> tuple[np.ndarray, RunnerState]:
        end = state.position + embeddings.shape[1]
        inputs = {
            "inputs_embeds": embeddings,
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(state.position, end)[None],
        }
        names = [output.name for output in self._decoder.get_outputs()]
        # The caches stay ONNX Runtime's, so that nothing copies them.
        outputs = self._decoder.run_with_ort_values(
            names, {**{k: self._value(v) for k, v in inputs.items()}, **state.caches}
        )
        values = dict(zip(names, outputs))
        logits = values.pop("logits").numpy()[0, -1]
        caches = {
            name.replace("present", "past_key_values"): value
            for name, value in values.items()
        }
        return logits, RunnerState(end, caches)

    def _value(self, array: np.ndarray) -> OrtValue:
        return self._onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _read_more(fields: Fields) -> Manifest:
    """Return layers of the decoder, and the shape of a cache of nothing."""
    shape = fields.items("cache_shape", lambda f, i: f.integer(i, at_most=MOST_PARTS))
    if len(shape) != 4 or shape[0] != 1 or shape[2] != 0:
        raise fields.error("cache_shape", "[1, heads, 0, width]")
    return {
        "num_layers": fields.integer("num_layers", at_least=1, at_most=MOST_PARTS),
        "cache_shape": shape,
    }
