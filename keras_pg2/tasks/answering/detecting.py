"""Boxes and masks of named things: pictures and labels in, `Detections` out.

The answers are held to the location grammar, so each is well formed; they become
boxes in pixels of the caller's picture, masks by the mask codec, and scores by the
probabilities of their tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.mask_codec import MaskCodec
from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.generation.samplers import BeamSearch
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.images import open_image
from keras_pg2.tasks.answering.answers import ScoredAnswer
from keras_pg2.tasks.answering.detection_scores import (
    ScoreCalibration,
    geometric_mean,
    token_features,
)
from keras_pg2.tasks.answering.requests import EncodedImages

Task = Literal["detect", "segment"]
Asked = Literal["together", "each", "both"]
BOTH_OVERLAP = 0.5
"""IoU over which what was found in both ways is one thing."""
CODEC_FILE = "mask_codec.npz"
"""In a preset's directory; without one the codec of the released checkpoints is it."""


def find_detections(
    model: Any,
    task: Task,
    images: Any,
    labels: Sequence[str] | Sequence[Sequence[str]],
    max_detections: int,
    max_overlap: float | None,
    batch_size: int,
    asked: Asked,
) -> Any:
    """See `PaliGemma2CausalLM.detect`."""
    _check_model(model, task)
    if isinstance(images, EncodedImages):
        raise TypeError(
            f"Expected pictures to {task} things in, whose sizes are needed. Received: "
            "encoded images. Pass the pictures."
        )
    check_at_least_one("max_detections", max_detections)
    check_at_least_one("batch_size", batch_size)
    is_share = isinstance(max_overlap, Real) and 0 <= max_overlap <= 1
    if max_overlap is not None and not is_share:
        raise ValueError(f"Expected max_overlap in [0, 1], received {max_overlap!r}.")
    if asked not in get_args(Asked):
        raise ValueError(
            f"Expected asked to be one of {', '.join(get_args(Asked))}, received "
            f"{asked!r}."
        )
    if asked == "both" and max_overlap is None:
        max_overlap = BOTH_OVERLAP
    is_batched = isinstance(images, list | tuple)
    pictures = list(images) if is_batched else [images]
    rows = _labels_of_each(labels, len(pictures))
    by_labels: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, names in enumerate(rows):
        for question in _questions(names, asked):
            by_labels[question].append(i)
    calls = [
        (names, tuple(places[start : start + batch_size]))
        for names, places in by_labels.items()
        for start in range(0, len(places), batch_size)
    ]
    prompts_of = {names: _prompt(task, names) for names in by_labels}
    codec = None
    if task == "segment":
        codec = model.mask_codec or MaskCodec.released()
    found: dict[int, list[Detections]] = defaultdict(list)
    for names, places in calls:
        opened = [open_image(pictures[i], f"image {i}") for i in places]
        answers = model.generate(
            {"images": opened, "prompts": [prompts_of[names]] * len(opened)},
            max_new_tokens=_room(model, task, names, max_detections),
            constraint=_grammar(task, names),
            return_scores=True,
        )
        for i, picture, answer in zip(places, opened, answers, strict=True):
            instances = read_answer(model, answer, picture, codec)
            # There is room for more things where a label is shorter than the longest.
            found[i].append(instances.take(np.arange(len(instances))[:max_detections]))
    results = [
        _joined(found[i], max_overlap, max_detections) for i in range(len(pictures))
    ]
    return results if is_batched else results[0]


def _questions(names: tuple[str, ...], asked: Asked) -> list[tuple[str, ...]]:
    """The labels of each prompt about a picture."""
    each: list[tuple[str, ...]] = [(name,) for name in names]
    if asked == "each":
        return each
    return [names] if asked == "together" or len(names) == 1 else [names, *each]


def _joined(
    parts: list[Detections], max_overlap: float | None, max_detections: int
) -> Detections:
    """What several answers about a picture found, the surest of it."""
    whole = Detections.concatenate(parts)
    if max_overlap is not None:
        whole = whole.without_duplicates(max_overlap)
    assert whole.scores is not None
    surest = np.argsort(-whole.scores, kind="stable")[:max_detections]
    return whole.take(np.sort(surest))


def read_answer(
    model: Any, answer: ScoredAnswer, picture: Image.Image, codec: MaskCodec | None
) -> Detections:
    """The detections of a well-formed answer, with scores."""
    instances = parse_detections(answer.text, picture.width, picture.height, codec)
    features = token_features(answer, model.preprocessor.tokenizer)
    score = model.score_calibration or geometric_mean
    return replace(instances, scores=score(features))


class DetectionFiles:
    """What a preset has for detection besides its network, read when it is needed.

    Args:
        directory: of a preset; None for none.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._codec: MaskCodec | None = None
        self.score_calibration: ScoreCalibration | None = None
        if directory is not None:
            self.score_calibration = ScoreCalibration.from_directory(directory)

    @classmethod
    def of_preset(cls, preset: str | Path) -> DetectionFiles:
        """Of what was named to `from_preset`, and is on this machine by now."""
        found = resolve(preset)
        if isinstance(found, Preset):
            return cls(None)
        path = found if isinstance(found, Path) else locate(found)
        return cls(path.absolute() if path.is_dir() else None)

    @property
    def mask_codec(self) -> MaskCodec | None:
        """The one that was set, or the preset's own; None where there is neither."""
        if self._codec is None and self._directory is not None:
            path = self._directory / CODEC_FILE
            self._codec = MaskCodec.from_file(path) if path.is_file() else None
        return self._codec

    @mask_codec.setter
    def mask_codec(self, codec: MaskCodec | None) -> None:
        self._codec = codec

    def save(self, directory: Path) -> None:
        """Writes the codec and the calibration, where there are any."""
        if self.mask_codec is not None:
            self.mask_codec.save(directory / CODEC_FILE)
        if self.score_calibration is not None:
            self.score_calibration.save(directory)


def _check_model(model: Any, task: Task) -> None:
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


def _labels_of_each(labels: Any, num_pictures: int) -> list[tuple[str, ...]]:
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


def _checked(labels: Sequence[str], place: str) -> tuple[str, ...]:
    try:
        prompts.detect(labels)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Labels{place}: {error}") from None
    return tuple(label.strip() for label in labels)


def _prompt(task: Task, labels: tuple[str, ...]) -> str:
    return getattr(prompts, task)(labels)


def _grammar(task: Task, labels: tuple[str, ...]) -> LocationGrammar:
    return LocationGrammar(labels, "always" if task == "segment" else "never")


def _room(model: Any, task: Task, labels: tuple[str, ...], max_detections: int) -> int:
    """Tokens that so many instances of the longest label take, and the end."""
    box = "<loc0000>" * 4 + ("<seg000>" * 16 if task == "segment" else "")
    texts = [f"{box} {label} ; " for label in labels]
    tokens: Iterator[int] = map(len, model.preprocessor.tokenizer.tokenize(texts))
    return max_detections * max(tokens) + 1
