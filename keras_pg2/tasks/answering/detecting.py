"""Boxes and masks of named things: pictures and labels in, `Detections` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.searching import (
    DetectionOptions,
    DetectionTask,
    Labels,
    Search,
)
from keras_pg2.generation.samplers import BeamSearch
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.tasks.answering.answering import answer_with_scores
from keras_pg2.tasks.answering.answers import ScoredAnswer
from keras_pg2.tasks.answering.detection_files import DetectionFiles
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    EncodedImages,
    Images,
    Options,
)


def find_detections(
    model: AnsweringModel,
    files: DetectionFiles,
    images: Images,
    labels: Labels,
    options: DetectionOptions,
) -> Detections | list[Detections] | Iterator[Detections]:
    """Return detections of pictures; see `PaliGemma2CausalLM.detect`."""
    preprocessor = check_can_detect(model, options.task)
    if isinstance(images, EncodedImages):
        raise TypeError(
            f"Expected pictures to {options.task} things in, whose sizes are needed. "
            "Received: encoded images. Pass the pictures."
        )

    def codec() -> MaskCodec:
        return files.mask_codec or MaskCodec.released()

    answering = _Model(model, preprocessor)
    search = Search(answering, options, files.score_calibration, codec)
    return search.look(images, labels)


@dataclass(frozen=True)
class _Model:
    """A model that is asked about pictures, many at a time.

    Attributes:
        model: The model.
        preprocessor: Its preprocessor, with an image converter.
    """

    model: AnsweringModel
    preprocessor: PaliGemma2CausalLMPreprocessor

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that it is shown."""
        assert self.preprocessor.image_converter is not None
        size: tuple[int, int] = self.preprocessor.image_converter.image_size
        return size

    @property
    def vocabulary(self) -> PaliGemma2Tokenizer:
        """Its tokenizer."""
        return self.preprocessor.tokenizer

    def ask(
        self,
        pictures: list[Image.Image],
        prompt: str,
        max_new_tokens: int,
        constraint: LocationGrammar,
    ) -> Sequence[ScoredAnswer]:
        """Return the answer to one prompt about each picture."""
        inputs = {"images": pictures, "prompts": [prompt] * len(pictures)}
        options = Options(max_new_tokens=max_new_tokens, constraint=constraint)
        scored: Sequence[ScoredAnswer] = answer_with_scores(self.model, inputs, options)
        return scored


def check_can_detect(
    model: AnsweringModel, task: DetectionTask
) -> PaliGemma2CausalLMPreprocessor:
    """Return the preprocessor of a model that finds things in pictures.

    Raises:
        ValueError: if it cannot.
    """
    preprocessor = model.preprocessor
    if preprocessor is None or preprocessor.image_converter is None:
        raise ValueError(
            f"Expected a model with a preprocessor and an image converter to {task} "
            "things in pictures. Received one without."
        )
    if isinstance(model.sampler, BeamSearch):
        # Beams would be compared by scores of what a grammar forbids them.
        raise ValueError(
            f"Expected a sampler without beams to {task}. Received: {model.sampler}. "
            'Call compile(sampler="greedy") first.'
        )
    return preprocessor
