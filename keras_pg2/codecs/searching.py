"""Named things in pictures, asked of a model or of what runs an exported one.

The answers are held to the location grammar, so each is well formed; they become
boxes in pixels of the caller's picture, masks by the mask codec, and scores by the
probabilities of their tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Real
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Protocol,
    TypeAlias,
    TypedDict,
    get_args,
)

import numpy as np
from PIL import Image

from keras_pg2.checks.numbers import check_at_least_one
from keras_pg2.codecs.detection_scores import (
    RATHER_RIGHT,
    ScoreCalibration,
    Scored,
    Vocabulary,
    geometric_mean,
    token_features,
)
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.grammars import LocationGrammar
from keras_pg2.codecs.parsing import parse_detections
from keras_pg2.preprocessing import prompts
from keras_pg2.preprocessing.examples import unpack_axes
from keras_pg2.preprocessing.images import (
    ImageInput,
    is_picture,
    load_sized,
    to_picture,
)

if TYPE_CHECKING:
    from keras_pg2.codecs.mask_codec import MaskCodec

DetectionTask: TypeAlias = Literal["detect", "segment"]
"""Boxes, or boxes and masks; also the first word of the prompt."""
Labels: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
"""The names to look for in all pictures, or a list of them for each picture."""
Asked = Literal["together", "each", "both"]
BOTH_OVERLAP = 0.5
"""IoU over which what was found in both ways is one thing."""


class Thresholds(TypedDict, total=False):
    """Options of `detect`, which do not change the type of what it returns."""

    max_detections: int
    max_overlap: float | None
    min_score: float | None
    batch_size: int
    asked: Asked


@dataclass(frozen=True)
class DetectionOptions:
    """The arguments of `PaliGemma2CausalLM.detect` and `segment`.

    Raises:
        ValueError: if a number is out of range, or `asked` unknown.
    """

    task: DetectionTask
    max_detections: int = 20
    max_overlap: float | None = None
    min_score: float | None = None
    batch_size: int = 8
    asked: Asked = "together"

    def __post_init__(self) -> None:
        check_at_least_one("max_detections", self.max_detections)
        check_at_least_one("batch_size", self.batch_size)
        for name in ("max_overlap", "min_score"):
            share = getattr(self, name)
            is_share = isinstance(share, Real) and 0 <= float(share) <= 1
            if share is not None and not is_share:
                raise ValueError(f"Expected {name} in [0, 1], received {share!r}.")
        if self.asked not in get_args(Asked):
            raise ValueError(
                f"Expected asked to be one of {', '.join(get_args(Asked))}, received "
                f"{self.asked!r}."
            )


class Answering(Protocol):
    """What is asked about pictures."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures that it is shown."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokens."""

    def ask(
        self,
        pictures: list[Image.Image],
        prompt: str,
        max_new_tokens: int,
        constraint: LocationGrammar,
    ) -> Sequence[Scored]:
        """Return the answer to one prompt about each picture."""


@dataclass(frozen=True)
class Search:
    """Looks into pictures.

    Attributes:
        answering: What is asked.
        options: What is looked for, and how.
        calibration: Makes scores of probabilities; None for their geometric mean.
        codec: Returns the codec of masks, which is made when it is needed.
    """

    answering: Answering
    options: DetectionOptions
    calibration: ScoreCalibration | None
    codec: Callable[[], MaskCodec]

    def look(
        self, images: Any, labels: Labels
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Return what is in a picture, in each of a list, or of an iterator.

        Raises:
            TypeError, ValueError, FileNotFoundError: as `PaliGemma2CausalLM.detect`.
        """
        # An open file is an iterator too, and one picture.
        if isinstance(images, Iterator) and not is_picture(images):
            prompts.check_labels(labels)
            return self._one_by_one(images, _checked(labels, ""))
        entries = unpack_axes(images)
        pictures = entries if isinstance(entries, list) else [entries]
        found = list(self._find(pictures, _labels_of_each(labels, len(pictures))))
        return found if isinstance(entries, list) else found[0]

    def _one_by_one(
        self, images: Iterator[ImageInput], names: tuple[str, ...]
    ) -> Iterator[Detections]:
        """Yield what is in each picture; a batch is in memory at a time."""
        first = 0
        while batch := list(islice(images, self.options.batch_size)):
            yield from self._find(batch, [names] * len(batch), first)
            first += len(batch)
            batch.clear()  # Before the next ones are opened.

    def _find(
        self,
        pictures: Sequence[ImageInput],
        labels: Sequence[tuple[str, ...]],
        first: int = 0,
    ) -> Iterator[Detections]:
        """Compute all answers, then yield what they say of one picture after another.

        Masks, which take much memory, are made of what is yielded alone.

        Args:
            pictures: to look into.
            labels: names to look for in each.
            first: what errors count the pictures from.
        """
        codec = self.codec() if self.options.task == "segment" else None
        sizes: dict[int, tuple[int, int]] = {}
        answers: dict[int, list[Detections]] = defaultdict(list)
        for names, indices in _calls(labels, self.options):
            asked = {f"image {first + i}": pictures[i] for i in indices}
            for i, (size, found) in zip(indices, self._ask(asked, names)):
                sizes[i] = size
                answers[i].append(found)
        for i in range(len(pictures)):
            found = self._sure(Detections.concatenate(answers[i]))
            if codec is not None:
                tokens = " ; ".join(found.tokens)
                masks = parse_detections(tokens, *sizes[i], codec).masks
                found = replace(found, masks=masks)
            yield found

    def _ask(
        self, pictures: Mapping[str, ImageInput], names: tuple[str, ...]
    ) -> Iterator[tuple[tuple[int, int], Detections]]:
        """Put one question about a batch of pictures, by what errors call them.

        Yields:
            Width and height of each, and what is found there, without masks.
        """
        task, answering = self.options.task, self.answering
        shown = answering.image_size
        opened = [load_sized(image, name, shown) for name, image in pictures.items()]
        segments: Literal["always", "never"]
        segments = "always" if task == "segment" else "never"
        scored = answering.ask(
            [to_picture(picture.levels) for picture in opened],
            getattr(prompts, task)(names),
            self._room(names),
            LocationGrammar(names, segments),
        )
        score = self.calibration or geometric_mean
        for picture, answer in zip(opened, scored, strict=True):
            scores = score(token_features(answer, answering.vocabulary))
            size = picture.width, picture.height
            found = replace(parse_detections(answer.text, *size), scores=scores)
            # There is room for more things if a label is shorter than the longest.
            yield size, found[: self.options.max_detections]

    def _sure(self, found: Detections) -> Detections:
        """Return the surest of what several answers about a picture found."""
        options = self.options
        max_overlap, min_score = options.max_overlap, options.min_score
        if max_overlap is None and options.asked == "both":
            max_overlap = BOTH_OVERLAP
        if max_overlap is not None:
            found = found.without_duplicates(max_overlap)
        if min_score is None:
            min_score = RATHER_RIGHT if self.calibration else 0.0
        assert found.scores is not None
        order = np.argsort(-found.scores, kind="stable")[: options.max_detections]
        return found.take(np.sort(order[found.scores[order] >= min_score]))

    def _room(self, labels: tuple[str, ...]) -> int:
        """Tokens that the most instances of the longest label take, and the end."""
        masks = "<seg000>" * 16 if self.options.task == "segment" else ""
        texts = [f"{'<loc0000>' * 4}{masks} {label} ; " for label in labels]
        tokens: Iterator[int] = map(len, self.answering.vocabulary.tokenize(texts))
        return self.options.max_detections * max(tokens) + 1


def _calls(
    labels: Sequence[tuple[str, ...]], options: DetectionOptions
) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """The labels of each prompt, and batches of the pictures that it is put about."""
    pictures_of: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, names in enumerate(labels):
        for question in _questions(names, options.asked):
            pictures_of[question].append(i)
    for names, indices in pictures_of.items():
        for start in range(0, len(indices), options.batch_size):
            yield names, indices[start : start + options.batch_size]


def _questions(names: tuple[str, ...], asked: Asked) -> list[tuple[str, ...]]:
    """The labels of each prompt about a picture."""
    each: list[tuple[str, ...]] = [(name,) for name in names]
    if asked == "each":
        return each
    return [names] if asked == "together" or len(names) == 1 else [names, *each]


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
