"""Running an exported LiteRT model: a picture and a prompt in, text out.

Needs `ai-edge-litert`, numpy, Pillow and sentencepiece; no Keras, TensorFlow, JAX or
PyTorch.

Axes: I image tokens, T text tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_pg2.codecs import Detections, parse_detections
from keras_pg2.codecs.grammars import Grammar, LocationGrammar
from keras_pg2.deploy.runner_tokens import GreedyChoice, VocabularyTokenizer
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.images import ImageInput, load_rgb, open_image
from keras_pg2.preprocessing.resizing import stretch, to_model_input

MANIFEST = "litert.json"
VOCABULARY = "vocabulary.spm"


class LiteRTState(NamedTuple):
    """What has been read and written until now.

    Attributes:
        position: of the next token; also how many there are, image included.
        caches: keys and values of all of them, by name, for each part of the decoder.
    """

    position: int
    caches: tuple[Mapping[str, np.ndarray], ...]


class LiteRTModel:
    """A model that `export_litert` wrote.

    Args:
        directory: what `export_litert` wrote.
        num_threads: of the CPU; None is one for each core.

    Attributes:
        manifest: what is in `litert.json`: sizes, lengths, special tokens.

    Raises:
        FileNotFoundError: when the directory or a file of it is not there.
        ImportError: when `ai-edge-litert` or `sentencepiece` is not installed.
        ValueError: when `litert.json` is not one.
    """

    def __init__(
        self, directory: str | os.PathLike[str], num_threads: int | None = None
    ) -> None:
        self.manifest: dict[str, Any] = _read_manifest(Path(directory))
        interpreter, sentencepiece = _import_runtime()
        files = {
            name: interpreter.Interpreter(
                str(Path(directory) / name), num_threads=num_threads or os.cpu_count()
            )
            for name in dict.fromkeys(self.manifest["files"].values())
        }
        self._signatures = {
            signature: files[name].get_signature_runner(signature)
            for signature, name in self.manifest["files"].items()
        }
        self._tokenizer = VocabularyTokenizer(
            sentencepiece.SentencePieceProcessor(
                model_proto=(Path(directory) / VOCABULARY).read_bytes()
            ),
            self.manifest["end_token_id"],
            self.manifest["special_token_ids"],
        )

    def generate(
        self,
        image: ImageInput,
        prompt: str,
        max_new_tokens: int | None = None,
        constraint: Grammar | None = None,
    ) -> str:
        """The greedy answer to a prompt about a picture.

        Args:
            image: a path, a PIL image or an array, as
                `keras_pg2.preprocessing.images.load_rgb` takes it.
            prompt: such as "caption en"; without the newline.
            max_new_tokens: most tokens of the answer; None for what the cache holds.
            constraint: what the answer is held to, such as `Choices` of
                `keras_pg2.codecs.grammars`; None for nothing.

        Raises:
            FileNotFoundError, PermissionError, TypeError, ValueError: for a bad
                picture; ValueError too for a prompt longer than the longest prefill,
                and where no answer of the constraint has room.
        """
        limit = max_new_tokens
        if limit is None:
            limit = self.manifest["cache_length"]
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(
                "Expected max_new_tokens as a whole number >= 1, or None. Received: "
                f"{max_new_tokens!r}."
            )
        token_ids = self.tokenize(prompt)
        features = self.encode_image(image)
        tokens = self.generate_tokens(features, token_ids, limit, constraint)
        return self.detokenize(list(tokens))

    def detect(
        self,
        image: ImageInput,
        labels: Sequence[str],
        max_new_tokens: int | None = None,
    ) -> Detections:
        """Finds named things: boxes in pixels of the picture as it was given.

        The answer is held to the form of a detection, as by
        `PaliGemma2CausalLM.detect`; there are no scores.

        Args:
            image: as for `generate`.
            labels: the names to look for.
            max_new_tokens: as for `generate`.

        Raises:
            FileNotFoundError, PermissionError, TypeError, ValueError: as `generate`,
                and for labels that no prompt can have.
        """
        picture, prompt = open_image(image), prompts.detect(labels)
        grammar = LocationGrammar(tuple(labels), segments="never")
        text = self.generate(picture, prompt, max_new_tokens, grammar)
        return parse_detections(text, *picture.size)

    def tokenize(self, prompt: str) -> list[int]:
        """The tokens of a prompt, with what stands before and after it."""
        separator = self.manifest["separator"]
        start, end = self.manifest["start_token_ids"], self.manifest["separator_ids"]
        text = prompt.removesuffix(separator) if separator else prompt
        [token_ids] = self._tokenizer.tokenize([text])
        return [*start, *token_ids, *end]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        return self._tokenizer.detokenize(token_ids)

    def encode_image(self, image: ImageInput) -> np.ndarray:
        """The image tokens float32[1, I, D] of a picture of any size."""
        size, interpolation, antialias = (
            self.manifest[key] for key in ("image_size", "interpolation", "antialias")
        )
        levels = load_rgb(image)
        levels = stretch(levels, (size, size), interpolation, antialias)
        return self.encode_pixels(to_model_input(levels)[None])

    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, D]."""
        return self._signatures["vision"](images=images)["image_features"]

    def generate_tokens(
        self,
        image_features: np.ndarray,
        token_ids: Sequence[int],
        max_new_tokens: int,
        constraint: Grammar | None = None,
    ) -> Iterator[int]:
        """The greedy answer, token by token, without its end token.

        Args:
            image_features: of `encode_image`.
            token_ids: of `tokenize`.
            max_new_tokens: most tokens.
            constraint: as for `generate`.
        """
        logits, state = self.prefill(image_features, token_ids)
        automaton = None
        if constraint is not None:
            automaton = constraint.automaton(self._tokenizer, len(logits))
        choice = GreedyChoice(automaton)
        # The last token is not read again, so needs no slot of the cache.
        room = self.manifest["cache_length"] - state.position + 1
        for num_left in range(min(max_new_tokens, room), 0, -1):
            token = choice.choose(logits, num_left)
            if token == self.manifest["end_token_id"]:
                return
            yield token
            if choice.is_over or num_left == 1:
                return
            logits, state = self.decode(token, state)

    def prefill(
        self, image_features: np.ndarray, token_ids: Sequence[int]
    ) -> tuple[np.ndarray, LiteRTState]:
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
        return self._logits(hidden[:, end - 1 : end]), LiteRTState(end, tuple(caches))

    def decode(self, token: int, state: LiteRTState) -> tuple[np.ndarray, LiteRTState]:
        """Reads one more token: float32[V] logits of the next, and the state."""
        hidden, position = self._embed(token), np.array([state.position], np.int32)
        caches = []
        for part, cache in enumerate(state.caches):
            cache = self._signatures[f"decode_{part}"](
                hidden=hidden, position=position, **cache
            )
            hidden = cache.pop("hidden")
            caches.append(cache)
        return self._logits(hidden), LiteRTState(state.position + 1, tuple(caches))

    def _embed(self, token: int) -> np.ndarray:
        ids = np.array([[token]], np.int32)
        return self._signatures["embedder"](token_ids=ids)["embeddings"]

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        return self._signatures["logits"](hidden=hidden)["logits"][0]


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a directory that export_litert wrote, with {MANIFEST} in it. "
            f"Received: {str(directory)!r}, where there is none."
        )
    try:
        manifest = json.loads(path.read_text())
        names = {VOCABULARY, *manifest["files"].values()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to be as export_litert wrote it, but it cannot be read "
            f"({error!r}). Export the model again."
        ) from error
    missing = [name for name in sorted(names) if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected {', '.join(missing)} in {str(directory)!r}, as {MANIFEST} says. "
            "Copy the whole directory."
        )
    return manifest


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
