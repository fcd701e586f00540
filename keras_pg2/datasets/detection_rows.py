"""Training rows of an annotation file: `detect` and `segment` prompts with answers.

A row is `{"images": path, "prompts": text, "responses": text}`, as `fit` and the
preprocessor take it. Answers follow `codecs.parsing`:

    <locY1><locX1><locY2><locX2>[<seg...> x 16] label ; <locY1>...

**Order of the instances.** The transfer to COCO and DocLayNet wrote all annotated
objects in random order (PaliGemma 2, arXiv:2412.03555 appendix C, after Pix2Seq,
arXiv:2109.10852, which compared orders and found random best). So
`random` is the default, drawn anew for each epoch. `area` (largest first) and `raster`
(by the upper edge, then by the left one) give the same answer in every epoch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from keras_pg2.codecs.location_tokens import boxes_yxyx_to_text, normalize_boxes_xyxy
from keras_pg2.datasets.checks import OnBad, Problems
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_entries import CocoAnnotation, CocoId, CocoImage
from keras_pg2.datasets.coco_pictures import check_sizes, find_images
from keras_pg2.datasets.moving_boxes import JOINT
from keras_pg2.datasets.noise_boxes import with_noise
from keras_pg2.datasets.rows import Row, Rows
from keras_pg2.datasets.same_pictures import joined

ALL_CLASSES_PROMPT = "detect all classes"
_SEGMENT_TOKENS = re.compile(r"(<seg\d{3}>){16}")

Asked: TypeAlias = Literal["present", "each", "all classes"]
Order: TypeAlias = Literal["random", "area", "raster"]
# (mask bool[H, W], box_xyxy float[4] in pixels) -> sixteen <seg...> tokens.
EncodeMask: TypeAlias = Callable[[np.ndarray, np.ndarray], str]


def detection_rows(
    coco: CocoFile,
    image_folder: str | Path,
    *,
    asked: Asked = "present",
    order: Order = "random",
    num_noise_boxes: int = 0,
    absent_share: float = 0.0,
    seed: int = 0,
    epoch: int = 0,
) -> Iterator[Row]:
    """Rows of `detect` prompts, in the order of the pictures in the file.

    A label whose annotation was left out (`CocoFile.lost`) is not asked for in that
    picture: the answer would say that it is not there. Where its picture is unknown
    (`CocoFile.unplaced`), it is in no picture asked for as one that is not there.

    A picture that is listed several times is one, with all that is said of it.

    Args:
        coco: an annotation file; its crowd regions are left out.
        image_folder: the folder that its file names are in.
        asked: "present" asks one prompt per picture for all labels in it, "each" one
            prompt per label in it, "all classes" `detect all classes`. A picture
            without instances has no row but with "all classes", where its answer is
            empty, and with `absent_share`.
        order: of the instances in an answer, see above.
        num_noise_boxes: boxes of noise after the instances, with "all classes" only.
            As many as fill the sequence: the preprocessor cuts what is too much.
        absent_share: in [0, 1], how often labels are asked for that other pictures
            have and this one has not: the share of prompts that name such labels
            beside those that are there ("present"), or of pictures with such a prompt
            of their own, whose answer is empty ("each"). Above 0 each picture without
            instances is asked for such labels too, and its answer is empty. Nothing of
            it with "all classes".
        seed: of the random order, of the noise and of the absent labels.
        epoch: another epoch has another order and other noise. Rows of a picture do
            not depend on the other pictures.

    Raises:
        FileNotFoundError: when a picture is not there; before the first row.
        ValueError: for an option that is none, or when a picture has another size than
            the file says; before the first row.
    """
    if num_noise_boxes < 0 or (num_noise_boxes and asked != "all classes"):
        raise ValueError(
            "Expected num_noise_boxes of 0, or above with asked='all classes', "
            f"received {num_noise_boxes} with asked={asked!r}."
        )
    maker = _Maker(
        coco,
        Problems("raise"),
        asked=asked,
        order=order,
        num_noise_boxes=num_noise_boxes,
        absent_share=absent_share,
        seed=seed,
        epoch=epoch,
    )
    return maker.rows(image_folder)


def segmentation_rows(
    coco: CocoFile,
    image_folder: str | Path,
    encode_mask: EncodeMask,
    *,
    asked: Literal["present", "each"] = "present",
    order: Order = "random",
    absent_share: float = 0.0,
    seed: int = 0,
    epoch: int = 0,
) -> Iterator[Row]:
    """Rows of `segment` prompts; arguments as in `detection_rows`.

    The file has masks, and `encode_mask` gives the sixteen `<seg...>` tokens of a mask
    bool[H, W] within a box_xyxy float[4] in pixels.

    Raises:
        FileNotFoundError: when a picture is not there; before the first row.
        ValueError: for an option that is none; while the rows are read, when an
            annotation has no mask or one that cannot be encoded.
    """
    if asked == "all classes":
        raise ValueError(
            "Expected asked='present' or 'each' for segmentation, received "
            "'all classes': that prompt is for detection."
        )
    maker = _Maker(
        coco,
        Problems("raise"),
        asked=asked,
        order=order,
        encode_mask=encode_mask,
        absent_share=absent_share,
        seed=seed,
        epoch=epoch,
    )
    return maker.rows(image_folder)


def annotation_rows(
    coco: CocoFile,
    image_folder: str | Path,
    encode_mask: EncodeMask | None = None,
    *,
    absent_share: float = 0.0,
    seed: int = 0,
    on_bad: OnBad = "raise",
) -> Rows:
    """All rows of an annotation file, one prompt per picture, with what they leave out.

    Args:
        coco: an annotation file.
        image_folder: the folder that its file names are in.
        encode_mask: as in `segmentation_rows`; None for boxes.
        absent_share: as in `detection_rows`.
        seed: likewise.
        on_bad: "skip" leaves pictures and masks that cannot be used out and lists them
            in `skipped` of the result, after those of the file.

    Raises:
        FileNotFoundError, ValueError: as `detection_rows` and `segmentation_rows`; when
            no row is left.
    """
    problems = Problems(on_bad)
    problems.messages += coco.skipped
    maker = _Maker(
        coco, problems, encode_mask=encode_mask, absent_share=absent_share, seed=seed
    )
    pairs = list(maker.sourced_rows(image_folder))
    problems.check_some_left(len(pairs), str(coco.path))
    return Rows(
        [row for _, row in pairs],
        problems.messages,
        [source for source, _ in pairs],
        [*maker.coco.notes, *maker.notes()],
    )


def instance_text(
    coco: CocoFile, item: CocoAnnotation, encode_mask: EncodeMask | None = None
) -> str:
    """The tokens of an instance, without its label.

    Raises:
        ValueError: when its mask is missing or cannot be encoded; names it.
    """
    image = coco.images[item.image_id]
    box = np.array([item.box_xyxy])
    [location] = boxes_yxyx_to_text(
        normalize_boxes_xyxy(box, image.width, image.height)
    )
    if encode_mask is None:
        return location
    mask = coco.mask(item)
    name = f"{coco.path}: annotation {item.id!r}"
    try:
        tokens = encode_mask(mask, box[0])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(tokens, str) or not _SEGMENT_TOKENS.fullmatch(tokens):
        raise ValueError(
            f"{name}: expected sixteen tokens <seg000>..<seg127> from encode_mask, "
            f"received {tokens!r:.80}."
        )
    return location + tokens


@dataclass
class _Maker:
    """Makes the rows of an annotation file; fields as in `detection_rows`."""

    coco: CocoFile
    problems: Problems
    asked: Asked = "present"
    order: Order = "random"
    encode_mask: EncodeMask | None = None
    num_noise_boxes: int = 0
    absent_share: float = 0.0
    seed: int = 0
    epoch: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.epoch < 0:
            raise ValueError(f"Expected epoch >= 0, received {self.epoch}.")
        if not 0 <= self.absent_share <= 1:
            raise ValueError(
                "Expected absent_share in [0, 1] (--absent-share), received "
                f"{self.absent_share}."
            )
        for key, value, known in (
            ("asked", self.asked, ("present", "each", "all classes")),
            ("order", self.order, ("random", "area", "raster")),
        ):
            if value not in known:
                raise ValueError(
                    f"Expected {key} to be one of {', '.join(known)}, received "
                    f"{value!r}."
                )
        self.coco = joined(self.coco)
        # Labels by the file's order; a category that no picture has, as the root
        # category of Roboflow's exports, is not asked for. Two may have one name.
        items = self.coco.annotations.values()
        of_pictures = [{item.label for item in found} for found in items if found]
        used = set().union(*of_pictures)
        names = dict.fromkeys(self.coco.labels.values())
        self._labels = [label for label in names if label in used]
        total = sum(map(len, of_pictures))
        self._usual_count = max(1, round(total / max(1, len(of_pictures))))

    def rows(self, image_folder: str | Path) -> Iterator[Row]:
        """Check all pictures, then give the rows."""
        return (row for _, row in self.sourced_rows(image_folder))

    def sourced_rows(self, image_folder: str | Path) -> Iterator[tuple[str, Row]]:
        """Check all pictures, then give the rows with where they are from."""
        paths = find_images(self.coco, image_folder, problems=self.problems)
        paths = check_sizes(self.coco, paths, self.problems)
        return (
            (f"{self.coco.path}: image {image.id!r}", row)
            for i, image in enumerate(self.coco.images.values())
            if image.id in paths
            for row in self._rows_of(i, image, paths[image.id])
        )

    def notes(self) -> list[str]:
        """Return what a user should know of the rows that were made."""
        return [f"{text}: {self.counts[text]}." for text in _NOTES if self.counts[text]]

    def _rows_of(self, index: int, image: CocoImage, path: Path) -> Iterator[Row]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        texts = self._instance_texts(image)
        questions = self._questions(index, image, texts)
        if not questions:
            self.counts[_UNASKED] += 1
        for prompt, items in questions:
            answer = JOINT.join(
                f"{texts[item.id]} {item.label}"
                for item in _arranged(items, self.order, rng)
            )
            row = {"images": str(path), "prompts": prompt}
            if self.num_noise_boxes:
                parts = with_noise(answer, self.num_noise_boxes, rng)
                answer = "".join(part.text for part in parts)
                yield {**row, "responses": answer, "response_parts": parts}
            else:
                yield {**row, "responses": answer}

    def _instance_texts(self, image: CocoImage) -> dict[CocoId, str]:
        """Return tokens by annotation, without those whose mask cannot be used."""
        texts = {}
        for item in self.coco.annotations[image.id]:
            with self.problems.of():
                texts[item.id] = instance_text(self.coco, item, self.encode_mask)
        return texts

    def _questions(
        self, index: int, image: CocoImage, texts: Mapping[CocoId, str]
    ) -> list[tuple[str, Sequence[CocoAnnotation]]]:
        """Prompts with the instances that answer them, labels in the file's order."""
        items = self.coco.annotations[image.id]
        lost = set(self.coco.lost.get(image.id, ()))
        lost |= {item.label for item in items if item.id not in texts}
        if lost:
            self.counts[_LOST] += 1
        if None in lost or (lost and self.asked == "all classes"):
            return []
        if self.asked == "all classes":
            is_unsure = not items and bool(self.coco.unplaced)
            return [] if is_unsure else [(ALL_CLASSES_PROMPT, items)]
        verb = "detect" if self.encode_mask is None else "segment"
        items = tuple(item for item in items if item.label not in lost)
        present = {item.label for item in items}
        absent = self._draw_absent(index, image, present | lost)
        if self.asked == "present":
            labels = self._in_order(present | absent)
            self.counts[_ABSENT] += bool(absent)
            return [(f"{verb} {JOINT.join(labels)}", items)] if labels else []
        self.counts[_ABSENT] += len(absent)
        return [
            (f"{verb} {label}", [item for item in items if item.label == label])
            for label in self._in_order(present | absent)
        ]

    def _draw_absent(
        self, index: int, image: CocoImage, excluded: Collection[str | None]
    ) -> set[str]:
        """Draw labels that are not in a picture, as many as pictures usually have."""
        unplaced = self.coco.unplaced
        if None in unplaced:
            return set()
        # In a region of many instances a label is there.
        in_crowds = {item.label for item in self.coco.crowds[image.id]}
        there = {*in_crowds, *excluded, *unplaced}
        known = [label for label in self._labels if label not in there]
        rng = np.random.default_rng([self.seed, self.epoch, index, 1])
        is_empty = not self.coco.annotations[image.id]
        is_asked = self.absent_share > 0 and (
            is_empty or rng.random() < self.absent_share
        )
        if not known or not is_asked:
            return set()
        most = 1 if self.asked == "each" else min(len(known), self._usual_count)
        chosen = rng.permutation(len(known))[: rng.integers(1, most + 1)]
        return {known[i] for i in chosen}

    def _in_order(self, labels: Collection[str]) -> list[str]:
        return [label for label in self._labels if label in labels]


_ABSENT = "Prompts that ask for labels that are not in their picture"
_LOST = "Pictures not asked for a label of which an annotation was left out"
_UNASKED = "Pictures with nothing to be asked for, and without a row"
_NOTES = (_ABSENT, _LOST, _UNASKED)


def _arranged(
    items: Sequence[CocoAnnotation], order: Order, rng: np.random.Generator
) -> list[CocoAnnotation]:
    if order == "random":
        return [items[i] for i in rng.permutation(len(items))]
    if order == "area":
        return sorted(items, key=lambda item: -item.area)
    return sorted(items, key=lambda item: (item.box_xyxy[1], item.box_xyxy[0]))
