"""Boxes and masks of named things: pictures and labels in, `Detections` out.

The answers are held to the location grammar, so each is well formed; they become
boxes in pixels of the caller's picture, masks by the mask codec, and scores by the
probabilities of their tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np

from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.generation.samplers import BeamSearch
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.examples import unpack_axes
from keras_pg2.preprocessing.images import load_sized, to_picture
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.preset_files import (
    CALIBRATION_FILE,
    CODEC_FILE,
    PresetFiles,
)
from keras_pg2.tasks.answering.answering import answer_with_scores
from keras_pg2.tasks.answering.detection_scores import (
    ScoreCalibration,
    geometric_mean,
    token_features,
)
from keras_pg2.tasks.answering.requests import (
    AnsweringModel,
    EncodedImages,
    Images,
    Options,
)

DetectionTask = Literal["detect", "segment"]
Labels: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
"""The names to look for in all pictures, or a list of them for each picture."""
Asked = Literal["together", "each", "both"]
BOTH_OVERLAP = 0.5
"""IoU over which what was found in both ways is one thing."""


class Thresholds(TypedDict, total=False):
    """Options of `detect`, which do not change the type of what it returns."""

    max_detections: int
    max_overlap: float | None
    batch_size: int
    asked: Asked


@dataclass(frozen=True)
class DetectionOptions:
    """The arguments of `PaliGemma2CausalLM.detect` and `segment`.

    Raises:
        ValueError: if a number is out of range, or `asked` unknown.
    """

    task: DetectionTask
    max_detections: int
    max_overlap: float | None
    batch_size: int
    asked: Asked

    def __post_init__(self) -> None:
        check_at_least_one("max_detections", self.max_detections)
        check_at_least_one("batch_size", self.batch_size)
        overlap = self.max_overlap
        is_share = isinstance(overlap, Real) and 0 <= overlap <= 1
        if overlap is not None and not is_share:
            raise ValueError(f"Expected max_overlap in [0, 1], received {overlap!r}.")
        if self.asked not in get_args(Asked):
            raise ValueError(
                f"Expected asked to be one of {', '.join(get_args(Asked))}, received "
                f"{self.asked!r}."
            )


def find_detections(
    model: AnsweringModel,
    files: DetectionFiles,
    images: Images,
    labels: Labels,
    options: DetectionOptions,
) -> Detections | list[Detections]:
    """Return detections of pictures; see `PaliGemma2CausalLM.detect`."""
    task = options.task
    preprocessor, size = _check_model(model, task)
    if isinstance(images, EncodedImages):
        raise TypeError(
            f"Expected pictures to {task} things in, whose sizes are needed. Received: "
            "encoded images. Pass the pictures."
        )
    unpacked = unpack_axes(images)
    is_batched = isinstance(unpacked, list)
    pictures = unpacked if is_batched else [unpacked]
    by_labels: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, names in enumerate(_labels_of_each(labels, len(pictures))):
        for question in _questions(names, options.asked):
            by_labels[question].append(i)
    calls = [
        (names, indices[start : start + options.batch_size])
        for names, indices in by_labels.items()
        for start in range(0, len(indices), options.batch_size)
    ]
    prompts_of = {names: getattr(prompts, task)(names) for names in by_labels}
    codec = None
    if task == "segment":
        codec = files.mask_codec or MaskCodec.released()
    score = files.score_calibration or geometric_mean
    found: dict[int, list[Detections]] = defaultdict(list)
    for names, indices in calls:
        opened = [load_sized(pictures[i], f"image {i}", size) for i in indices]
        shown = [to_picture(picture.levels) for picture in opened]
        answers = answer_with_scores(
            model,
            {"images": shown, "prompts": [prompts_of[names]] * len(shown)},
            Options(
                max_new_tokens=_room(preprocessor, options, names),
                constraint=LocationGrammar(names, "always" if codec else "never"),
            ),
        )
        for i, picture, answer in zip(indices, opened, answers, strict=True):
            width, height = picture.width, picture.height
            instances = parse_detections(answer.text, width, height, codec)
            scores = score(token_features(answer, preprocessor.tokenizer))
            instances = replace(instances, scores=scores)
            # There is room for more things if a label is shorter than the longest.
            first = np.arange(len(instances))[: options.max_detections]
            found[i].append(instances.take(first))
    results = [_joined(found[i], options) for i in range(len(pictures))]
    return results if is_batched else results[0]


def _questions(names: tuple[str, ...], asked: Asked) -> list[tuple[str, ...]]:
    """The labels of each prompt about a picture."""
    each: list[tuple[str, ...]] = [(name,) for name in names]
    if asked == "each":
        return each
    return [names] if asked == "together" or len(names) == 1 else [names, *each]


def _joined(parts: list[Detections], options: DetectionOptions) -> Detections:
    """What several answers about a picture found, the surest of it."""
    joined, max_overlap = Detections.concatenate(parts), options.max_overlap
    if max_overlap is None and options.asked == "both":
        max_overlap = BOTH_OVERLAP
    if max_overlap is not None:
        joined = joined.without_duplicates(max_overlap)
    assert joined.scores is not None
    surest = np.argsort(-joined.scores, kind="stable")[: options.max_detections]
    return joined.take(np.sort(surest))


class DetectionFiles:
    """What a model has for detection besides its network.

    Args:
        files: Those of a preset, of which the codec is made when it is needed.

    Attributes:
        score_calibration: Calibration of scores, if there is one.

    Raises:
        ValueError: if the calibration is damaged.
    """

    def __init__(self, files: PresetFiles | None = None) -> None:
        self._preset, contents = files or PresetFiles("", {})
        self._codec: MaskCodec | None = None
        self._codec_file = contents.get(CODEC_FILE)
        self.score_calibration: ScoreCalibration | None = None
        if CALIBRATION_FILE in contents:
            self.score_calibration = ScoreCalibration.from_bytes(
                contents[CALIBRATION_FILE], f"{self._preset}/{CALIBRATION_FILE}"
            )

    @classmethod
    def of_preset(cls, preset: str | Path) -> DetectionFiles:
        """Return those of what `from_preset` has put on this machine."""
        found = resolve(preset)
        if isinstance(found, Preset):
            return cls()
        path = found if isinstance(found, Path) else locate(found, with_weights=False)
        return cls(PresetFiles.read(path) if path.is_dir() else None)

    @property
    def mask_codec(self) -> MaskCodec | None:
        """The one that was set, or the preset's own; None if there is neither."""
        if self._codec is None and self._codec_file is not None:
            source = f"{self._preset}/{CODEC_FILE}"
            self._codec = MaskCodec.from_bytes(self._codec_file, source)
        return self._codec

    @mask_codec.setter
    def mask_codec(self, codec: MaskCodec | None) -> None:
        self._codec = codec

    def save(self, directory: Path) -> None:
        """Write the codec and the calibration; remove files of absent ones."""
        for name in (CODEC_FILE, CALIBRATION_FILE):
            (directory / name).unlink(missing_ok=True)
        if self.mask_codec is not None:
            self.mask_codec.save(directory / CODEC_FILE)
        if self.score_calibration is not None:
            self.score_calibration.save(directory)


def _check_model(
    model: AnsweringModel, task: DetectionTask
) -> tuple[PaliGemma2CausalLMPreprocessor, tuple[int, int]]:
    """The preprocessor, and the size that it stretches pictures to."""
    if model.preprocessor is None or model.preprocessor.image_converter is None:
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
    return model.preprocessor, model.preprocessor.image_converter.image_size


def _labels_of_each(labels: Labels, num_pictures: int) -> list[tuple[str, ...]]:
    """The labels of each picture, checked."""
    prompts.check_labels(labels, ", or one such list for each picture")
    if all(isinstance(label, str) for label in labels):
        return [_checked(labels, "")] * num_pictures
    is_row = [isinstance(row, list | tuple) for row in labels]
    if len(labels) != num_pictures or not all(is_row):
        raise ValueError(
            f"Expected one list of labels for all pictures, or one for each of "
            f"{num_pictures}. Received: {len(labels)} entries, {labels!r}."
        )
    return [_checked(row, f" of picture {i}") for i, row in enumerate(labels)]


def _checked(labels: Any, whose: str) -> tuple[str, ...]:
    try:
        prompts.detect(labels)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Labels{whose}: {error}") from None
    return tuple(label.strip() for label in labels)


def _room(
    preprocessor: PaliGemma2CausalLMPreprocessor,
    options: DetectionOptions,
    labels: tuple[str, ...],
) -> int:
    """Tokens that the most instances of the longest label take, and the end."""
    box = "<loc0000>" * 4 + ("<seg000>" * 16 if options.task == "segment" else "")
    texts = [f"{box} {label} ; " for label in labels]
    tokens: Iterator[int] = map(len, preprocessor.tokenizer.tokenize(texts))
    return options.max_detections * max(tokens) + 1
