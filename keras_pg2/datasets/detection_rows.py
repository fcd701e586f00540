"""Training rows of an annotation file: `detect` and `segment` prompts with answers.

A row is `{"images": path, "prompts": text, "responses": text}`, as `fit` and the
preprocessor take it. Answers follow `codecs.parsing`:

    <locY1><locX1><locY2><locX2>[<seg...> x 16] label ; <locY1>...

**Order of the instances.** The transfer to COCO and DocLayNet wrote all annotated
objects in random order (PaliGemma 2, arXiv:2412.03555 appendix C, after Pix2Seq,
arXiv:2109.10852, which compared orders and found random best). So
`random` is the default, drawn anew for each epoch. `area` (largest first) and `raster`
(by the upper edge, then by the left one) give the same answer in every epoch.

**Noise boxes.** Of the same source: prompt `detect all classes`; after the objects,
boxes with random corners and `<noise>` for a label fill the answer up to the longest
length. Their coordinates have no loss, their label does. The model learns to go on
writing boxes, and how sure it is of each: `<noise>` is kept from being sampled later,
and the probability of the label is the score. Rows with noise boxes have a fourth
entry, "response_parts", the response cut into what is trained and what is not. As the
preprocessor refuses a fourth entry, nobody trains on random corners by oversight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from keras_pg2.codecs.location_tokens import (
    NUM_BINS,
    boxes_yxyx_to_text,
    normalize_boxes_xyxy,
)
from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_entries import CocoAnnotation, CocoId, CocoImage
from keras_pg2.datasets.rows import Row
from keras_pg2.preprocessing.image_decoding import upright_size

JOINT = " ; "
ALL_CLASSES_PROMPT = "detect all classes"
NOISE_LABEL = "<noise>"
_SEGMENT_TOKENS = re.compile(r"(<seg\d{3}>){16}")

Asked: TypeAlias = Literal["present", "each", "all classes"]
Order: TypeAlias = Literal["random", "area", "raster"]
# (mask bool[H, W], box_xyxy float[4] in pixels) -> sixteen <seg...> tokens.
EncodeMask: TypeAlias = Callable[[np.ndarray, np.ndarray], str]


class ResponsePart(NamedTuple):
    """A piece of a response, and whether the loss counts it.

    Pieces meet only beside `<loc....>` tokens, which no tokenizer merges with their
    neighbours, so the pieces have the very tokens of the whole.
    """

    text: str
    is_trained: bool


def detection_rows(
    coco: CocoFile,
    image_folder: str | Path,
    *,
    asked: Asked = "present",
    order: Order = "random",
    num_noise_boxes: int = 0,
    seed: int = 0,
    epoch: int = 0,
) -> Iterator[Row]:
    """Rows of `detect` prompts, in the order of the pictures in the file.

    Args:
        coco: an annotation file; its crowd regions are left out.
        image_folder: the folder that its file names are in.
        asked: "present" asks one prompt per picture for all labels in it, "each" one
            prompt per label in it, "all classes" `detect all classes`. A picture
            without instances has no row but with "all classes", where its answer is
            empty.
        order: of the instances in an answer, see above.
        num_noise_boxes: boxes of noise after the instances, with "all classes" only.
            As many as fill the sequence: the preprocessor cuts what is too much.
        seed: of the random order and of the noise.
        epoch: another epoch has another order and other noise. Rows of a picture do
            not depend on the other pictures.

    Raises:
        FileNotFoundError: when a picture is not there; before the first row.
        ValueError: for an option that is none.
    """
    if num_noise_boxes < 0 or (num_noise_boxes and asked != "all classes"):
        raise ValueError(
            "Expected num_noise_boxes of 0, or above with asked='all classes', "
            f"received {num_noise_boxes} with asked={asked!r}."
        )
    paths = _check(coco, image_folder, asked, order, epoch)
    return _rows(
        "detect", coco, paths, asked, order, None, num_noise_boxes, (seed, epoch)
    )


def segmentation_rows(
    coco: CocoFile,
    image_folder: str | Path,
    encode_mask: EncodeMask,
    *,
    asked: Literal["present", "each"] = "present",
    order: Order = "random",
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
    paths = _check(coco, image_folder, asked, order, epoch)
    return _rows("segment", coco, paths, asked, order, encode_mask, 0, (seed, epoch))


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


def _check_size(coco: CocoFile, image: CocoImage, path: Path) -> None:
    """Of the upright picture, in which boxes are; reads no more than its header."""
    with Image.open(path) as picture:
        size = upright_size(picture)
    if size != (image.width, image.height):
        raise ValueError(
            f"{coco.path}: image {image.id!r}: expected a picture of {image.width} x "
            f"{image.height} pixels, as the file says, found {size[0]} x {size[1]} in "
            f"{path} (upright). Boxes would be in other places."
        )


def find_images(
    coco: CocoFile, image_folder: str | Path, wanted: Collection[CocoId] | None = None
) -> dict[CocoId, Path]:
    """Paths of pictures by id: of those wanted, or of all.

    Raises:
        FileNotFoundError: when a picture is not there.
    """
    paths = {}
    for image in coco.images.values():
        if wanted is not None and image.id not in wanted:
            continue
        path = Path(image_folder) / image.file_name
        if not path.is_file():
            raise FileNotFoundError(
                f"{coco.path}: image {image.id!r}: expected a file {path}. Pass the "
                "folder that its file_name is in."
            )
        paths[image.id] = path
    return paths


def _check(
    coco: CocoFile, image_folder: str | Path, asked: str, order: str, epoch: int
) -> dict[CocoId, Path]:
    if epoch < 0:
        raise ValueError(f"Expected epoch >= 0, received {epoch}.")
    for key, value, known in (
        ("asked", asked, ("present", "each", "all classes")),
        ("order", order, ("random", "area", "raster")),
    ):
        if value not in known:
            raise ValueError(
                f"Expected {key} to be one of {', '.join(known)}, received {value!r}."
            )
    return find_images(coco, image_folder)


def _rows(
    verb: str,
    coco: CocoFile,
    paths: dict[CocoId, Path],
    asked: Asked,
    order: Order,
    encode_mask: EncodeMask | None,
    num_noise_boxes: int,
    seeds: tuple[int, int],
) -> Iterator[Row]:
    for i, image in enumerate(coco.images.values()):
        rng = np.random.default_rng([*seeds, i])
        _check_size(coco, image, paths[image.id])
        for prompt, items in _questions(verb, coco, image, asked):
            ordered = _arranged(items, order, rng)
            answer = JOINT.join(
                f"{instance_text(coco, item, encode_mask)} {item.label}"
                for item in ordered
            )
            row = {"images": str(paths[image.id]), "prompts": prompt}
            if num_noise_boxes:
                parts = _with_noise(answer, num_noise_boxes, rng)
                answer = "".join(part.text for part in parts)
                yield {**row, "responses": answer, "response_parts": parts}
            else:
                yield {**row, "responses": answer}


def _questions(
    verb: str, coco: CocoFile, image: CocoImage, asked: Asked
) -> list[tuple[str, Sequence[CocoAnnotation]]]:
    """Prompts with the instances that answer them, labels in the file's order."""
    items = coco.annotations[image.id]
    if asked == "all classes":
        return [(ALL_CLASSES_PROMPT, items)]
    present = {item.label for item in items}
    # Two categories may have one name.
    labels = [
        label for label in dict.fromkeys(coco.labels.values()) if label in present
    ]
    if asked == "present":
        return [(f"{verb} {JOINT.join(labels)}", items)] if labels else []
    return [
        (f"{verb} {label}", [item for item in items if item.label == label])
        for label in labels
    ]


def _arranged(
    items: Sequence[CocoAnnotation], order: Order, rng: np.random.Generator
) -> list[CocoAnnotation]:
    if order == "random":
        return [items[i] for i in rng.permutation(len(items))]
    if order == "area":
        return sorted(items, key=lambda item: -item.area)
    return sorted(items, key=lambda item: (item.box_xyxy[1], item.box_xyxy[0]))


def _with_noise(
    answer: str, count: int, rng: np.random.Generator
) -> tuple[ResponsePart, ...]:
    """The answer and `count` boxes of noise, cut before and after each box."""
    parts = [ResponsePart(answer + JOINT, True)] if answer else []
    for i in range(count):
        # Two different bins on each axis: a box is never without extent.
        (y1, y2), (x1, x2) = (
            np.sort(rng.choice(NUM_BINS, 2, replace=False)) for _ in range(2)
        )
        corners = "".join(f"<loc{b:04d}>" for b in (y1, x1, y2, x2))
        parts.append(ResponsePart(corners, False))
        end = JOINT if i < count - 1 else ""
        parts.append(ResponsePart(f" {NOISE_LABEL}{end}", True))
    return tuple(parts)
