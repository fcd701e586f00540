"""What runs an exported model, whatever its format: pictures and prompts to text.

A format adds how its files encode a picture, read a prompt and read one more token.
Needs numpy, Pillow and sentencepiece; no Keras.

Axes: I image tokens, D hidden_dim, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detection_scores import ScoreCalibration
from keras_pg2.codecs.grammars import Grammar, check_grammar
from keras_pg2.deploy.runners.files import (
    VOCABULARY,
    Manifest,
    read_manifest,
    read_vocabulary,
)
from keras_pg2.deploy.runners.finding import FindingRunner
from keras_pg2.deploy.runners.input_checks import check_prompt
from keras_pg2.deploy.runners.tokens import (
    GreedyChoice,
    ScoredText,
    VocabularyTokenizer,
    log_probability,
)
from keras_pg2.files.json_fields import Fields
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.images import ImageInput, load_rgb
from keras_pg2.preprocessing.resizing import stretch, to_model_input


class RunnerState(NamedTuple):
    """What has been read and written until now.

    Attributes:
        position: of the next token; also how many there are, image included.
        caches: keys and values of all of them, as the format has them.
    """

    position: int
    caches: Any


class ExportedModel(FindingRunner, ABC):
    """A model that was exported to a directory.

    Args:
        directory: what was written.
        manifest: the file in it that describes it.
        exporter: the function that writes such directories, for messages.
        read_more: Reads what the manifest says beside what all manifests do.
        sentencepiece: the module.

    Attributes:
        manifest: what is in that file: sizes, lengths, special tokens.
        tokenizer: its vocabulary.
        directory: the directory.
        score_calibration: Makes the scores of what is found; None for their geometric
            mean. It is that of the model that was exported.
        mask_codec: What `segment` decodes masks with; None until it is set.
    """

    def __init__(
        self,
        directory: Path,
        manifest: str,
        exporter: str,
        read_more: Callable[[Fields], Manifest],
        sentencepiece: ModuleType,
    ) -> None:
        self.manifest = read_manifest(directory, manifest, exporter, read_more)
        self.tokenizer = VocabularyTokenizer(
            read_vocabulary(directory / VOCABULARY, sentencepiece),
            self.manifest["end_token_id"],
            self.manifest["special_token_ids"],
        )
        self.directory = directory
        self.score_calibration = ScoreCalibration.from_directory(directory)
        self.mask_codec = None

    @abstractmethod
    def encode_pixels(self, images: np.ndarray) -> np.ndarray:
        """float32[1, h, w, 3] in [-1, 1] -> float32[1, I, D]."""

    @abstractmethod
    def prefill(
        self, image_features: np.ndarray, token_ids: Sequence[int]
    ) -> tuple[np.ndarray, RunnerState]:
        """Return float32[V] logits of the answer's first token, and the state.

        Raises:
            ValueError: if image and prompt are longer than the files can read.
        """

    @abstractmethod
    def decode(self, token: int, state: RunnerState) -> tuple[np.ndarray, RunnerState]:
        """Reads one more token: float32[V] logits of the next, and the state."""

    @overload
    def generate(
        self,
        image: ImageInput,
        prompt: str,
        max_new_tokens: int | None = None,
        constraint: Grammar | None = None,
        return_scores: Literal[False] = False,
    ) -> str: ...

    @overload
    def generate(
        self,
        image: ImageInput,
        prompt: str,
        max_new_tokens: int | None = None,
        constraint: Grammar | None = None,
        *,
        return_scores: Literal[True],
    ) -> ScoredText: ...

    def generate(
        self,
        image: ImageInput,
        prompt: str,
        max_new_tokens: int | None = None,
        constraint: Grammar | None = None,
        return_scores: bool = False,
    ) -> str | ScoredText:
        """The greedy answer to a prompt about a picture.

        Args:
            image: a picture: a path, an address, the bytes of a file, a PIL image, an
                array, ..., as `keras_pg2.preprocessing.images.load_rgb` takes it.
            prompt: such as "caption en"; without the newline.
            max_new_tokens: most tokens of the answer; None for what the cache holds.
            constraint: what the answer is held to, such as `Choices` of
                `keras_pg2.codecs.grammars`; None for nothing.
            return_scores: whether the answer comes with the probabilities of its
                tokens, as `ScoredText`.

        Raises:
            FileNotFoundError, PermissionError, ConnectionError, TypeError, ValueError:
                for a bad picture or prompt; ValueError too for a prompt longer than
                the longest prefill, and where no answer of the constraint has room;
                TypeError for a constraint that is none.
        """
        limit = self._limit(max_new_tokens)
        if constraint is not None:
            check_grammar(constraint)
        token_ids = self.tokenize(prompt)
        features = self.encode_image(image)
        if not return_scores:
            tokens = self.generate_tokens(features, token_ids, limit, constraint)
            return self.detokenize(list(tokens))
        chosen: list[int] = []
        scores: list[float] = []
        for token, logits in self._choose_tokens(
            features, token_ids, limit, constraint
        ):
            chosen.append(token)
            scores.append(log_probability(logits, token))
        text = self.detokenize([t for t in chosen if t != self._end_token_id])
        return ScoredText(
            text, np.array(chosen, np.int32), np.array(scores, np.float32)
        )

    def generate_all(
        self,
        image: ImageInput,
        prompts: Sequence[str],
        max_new_tokens: int | None = None,
    ) -> list[str]:
        """Return the greedy answer to each prompt about a picture, encoded once.

        The arguments, and what is raised, are as for `generate`.
        """
        limit = self._limit(max_new_tokens)
        asked = list(map(self.tokenize, prompts))
        features = self.encode_image(image)
        answers = (self.generate_tokens(features, ids, limit) for ids in asked)
        return [self.detokenize(list(tokens)) for tokens in answers]

    def _limit(self, max_new_tokens: int | None) -> int:
        if max_new_tokens is None:
            length: int = self.manifest["cache_length"]
            return length
        return check_at_least_one("max_new_tokens", max_new_tokens, ", or None")

    def tokenize(self, prompt: str) -> list[int]:
        """The tokens of a prompt, with what stands before and after it.

        Raises:
            TypeError, ValueError: for a prompt that is no text, or has `<image>` in it.
        """
        prompt = check_prompt(prompt)
        text = prompts.clean_prompt(prompt, self.manifest["separator"])
        start, end = self.manifest["start_token_ids"], self.manifest["separator_ids"]
        [token_ids] = self.tokenizer.tokenize([text])
        return [*start, *token_ids, *end]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        return self.tokenizer.detokenize(token_ids)

    def encode_image(self, image: ImageInput) -> np.ndarray:
        """The image tokens float32[1, I, D] of a picture of any size."""
        interpolation, antialias = (
            self.manifest[key] for key in ("interpolation", "antialias")
        )
        levels = load_rgb(image, size=self.image_size)
        levels = stretch(levels, self.image_size, interpolation, antialias)
        return self.encode_pixels(to_model_input(levels)[None])

    @property
    def _end_token_id(self) -> int:
        token: int = self.manifest["end_token_id"]
        return token

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that the network sees."""
        size = self.manifest["image_size"]
        return size, size

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
        for token, _ in self._choose_tokens(
            image_features, token_ids, max_new_tokens, constraint
        ):
            if token != self._end_token_id:
                yield token

    def _choose_tokens(
        self,
        image_features: np.ndarray,
        token_ids: Sequence[int],
        max_new_tokens: int,
        constraint: Grammar | None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield tokens, the end token too, and the float32[V] logits of each."""
        logits, state = self.prefill(image_features, token_ids)
        automaton = None
        if constraint is not None:
            automaton = constraint.automaton(self.tokenizer, len(logits))
        choice = GreedyChoice(automaton)
        # The last token is not read again, so needs no slot of the cache.
        cache_left = self.manifest["cache_length"] - state.position + 1
        for num_left in range(min(max_new_tokens, cache_left), 0, -1):
            token = choice.choose(logits, num_left)
            yield token, logits
            if token == self._end_token_id or choice.is_over or num_left == 1:
                return
            logits, state = self.decode(token, state)
