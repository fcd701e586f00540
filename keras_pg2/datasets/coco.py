"""COCO instance files, `instances_*.json`, checked as they are read.

A file holds "images" (id, file_name, width, height), "categories" (id, name) and
"annotations" (id, image_id, category_id, bbox = x, y, width, height in pixels,
optionally segmentation, area, iscrowd). Source: cocodataset.org/#format-data. An
annotation with iscrowd = 1 marks a region of many instances: it is kept apart, since
no single answer describes it, and evaluation forgives detections inside it.

Training rows of such a file are in `detection_rows.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.annotations import check_mask_size, mask_from_coco
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.coco_entries import (
    CocoAnnotation,
    CocoId,
    CocoImage,
    SegmentationError,
    check_new,
    cut_note,
    entry_name,
    first_pixel_note,
    id_in,
    known_id,
    overhang,
    read_annotation,
    read_category,
    read_image,
)
from keras_pg2.datasets.text_files import read_json_object


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file holds; so do folders of YOLO and of LabelMe.

    Attributes:
        path: where it was read.
        images: by id, in the order of the file.
        labels: names of the categories by id, in the order of the file.
        annotations: single instances by the id of their picture, in the order of the
            file; an empty tuple for a picture without any.
        crowds: the regions with iscrowd = 1, likewise.
        skipped: what was wrong with each picture and annotation that was left out, and
            with each mask.
        lost: by the id of a picture the labels of its annotations that were left out,
            None for one that is not known: nobody can say that they are all there is.
        unplaced: likewise of annotations whose picture is not known: any picture may
            have one of them.
        notes: what else a user should know.
    """

    path: Path
    images: Mapping[CocoId, CocoImage]
    labels: Mapping[CocoId, str]
    annotations: Mapping[CocoId, tuple[CocoAnnotation, ...]]
    crowds: Mapping[CocoId, tuple[CocoAnnotation, ...]]
    skipped: tuple[str, ...] = ()
    lost: Mapping[CocoId, frozenset[str | None]] = field(default_factory=dict)
    unplaced: frozenset[str | None] = frozenset()
    notes: tuple[str, ...] = ()

    def mask(self, annotation: CocoAnnotation) -> np.ndarray:
        """The mask of an annotation, bool[H, W] of its picture.

        Raises:
            ValueError: when it has none, or one that cannot be read.
        """
        name = f"{self.path}: annotation {shown(annotation.id)}"
        if annotation.segmentation is None:
            raise ValueError(
                f"{name}: expected a segmentation, received none. Use an instance "
                "file with masks, or ask for boxes only."
            )
        image = self.images[annotation.image_id]
        try:
            return mask_from_coco(annotation.segmentation, image.width, image.height)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def truths(
        self,
        image_id: CocoId,
        kind: Literal["boxes", "masks"] = "boxes",
        crowds: bool = False,
    ) -> Detections:
        """The instances of a picture, or its crowd regions, as metrics take them.

        Raises:
            ValueError: when masks are asked for and an annotation has none.
        """
        items = (self.crowds if crowds else self.annotations)[image_id]
        if items:
            return self.as_detections(items, kind)
        image = self.images[image_id]
        no_masks = np.zeros((0, image.height, image.width), bool)
        return Detections(
            (), np.zeros((0, 4), np.float32), no_masks if kind == "masks" else None
        )

    def as_detections(
        self, items: Sequence[CocoAnnotation], kind: Literal["boxes", "masks"] = "boxes"
    ) -> Detections:
        """One or more annotations of one picture, as metrics take them.

        Raises:
            ValueError: when masks are asked for and an annotation has none.
        """
        if kind == "masks":
            image = self.images[items[0].image_id]
            check_mask_size(image.width, image.height, len(items))
        return Detections(
            tuple(item.label for item in items),
            np.array([item.box_xyxy for item in items], np.float32),
            np.stack([self.mask(item) for item in items]) if kind == "masks" else None,
        )


def read_coco(
    path: str | Path,
    on_bad_annotation: Literal["raise", "skip"] = "raise",
    *,
    with_masks: bool = True,
    max_overhang: float | None = None,
) -> CocoFile:
    """Reads and checks an annotation file.

    Boxes that end a few pixels beyond their picture are cut at its border.

    Args:
        path: the JSON file.
        on_bad_annotation: "skip" leaves pictures and annotations that cannot be used
            out and lists them in `skipped`; COCO's own train2017 has a box without
            height. Where a mask alone is bad, the box stays.
        with_masks: False leaves segmentations unchecked, as long as no mask is asked
            for.
        max_overhang: most pixels of a box beyond its picture; None for 5 or a fiftieth
            of the picture's longer side, whichever is more.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no such file, a key is missing, an id occurs twice or is
            unknown, or a box is empty or outside its picture; names file and item.
            When all boxes are parts of width and height.
    """
    path = Path(path).expanduser()
    if on_bad_annotation not in ("raise", "skip"):
        raise ValueError(
            "Expected on_bad_annotation to be 'raise' or 'skip', received "
            f"{on_bad_annotation!r}."
        )
    if max_overhang is not None and not max_overhang >= 0:
        raise ValueError(f"Expected max_overhang >= 0, received {max_overhang}.")
    content = read_json_object(path)
    for key in ("images", "categories", "annotations"):
        if not isinstance(content.get(key), list):
            received = type(content[key]).__name__ if key in content else "none"
            raise ValueError(
                f"{path}: expected a list under {key!r}, received {received}. Is it a "
                "COCO instance file?"
            )
    labels: dict[CocoId, str] = {}
    for i, entry in enumerate(content["categories"]):
        name = f"{path}: category {entry_name(entry, i)}"
        category_id, label = read_category(entry, name)
        check_new(category_id, labels, name)
        labels[category_id] = label
    reader = _Reader(path, labels, on_bad_annotation, with_masks, max_overhang)
    reader.read_images(content["images"])
    reader.read_annotations(content["annotations"])
    return reader.file()


@dataclass
class _Reader:
    """Reads pictures and annotations one by one, and keeps account of bad ones."""

    path: Path
    labels: Mapping[CocoId, str]
    on_bad: Literal["raise", "skip"]
    with_masks: bool
    max_overhang: float | None
    images: dict[CocoId, CocoImage] = field(default_factory=dict)
    bad_images: set[CocoId] = field(default_factory=set)
    items: dict[CocoId, CocoAnnotation] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    lost: dict[CocoId, set[str | None]] = field(default_factory=dict)
    unplaced: set[str | None] = field(default_factory=set)
    overhangs: list[float] = field(default_factory=list)

    def read_images(self, entries: Iterable[Any]) -> None:
        for i, entry in enumerate(entries):
            try:
                image = read_image(entry, f"{self.path}: image {entry_name(entry, i)}")
                check_new(
                    image.id, self.images, f"{self.path}: image {shown(image.id)}"
                )
                self.images[image.id] = image
            except ValueError as error:
                self._refuse(error)
                image_id = id_in(entry, "id")
                self.bad_images |= set() if image_id is None else {image_id}
        for image_id in self.bad_images:
            self.images.pop(image_id, None)  # Of two with one id nobody knows which.

    def read_annotations(self, entries: Iterable[Any]) -> None:
        for i, entry in enumerate(entries):
            image_id = id_in(entry, "image_id")
            if image_id is not None and self._is_of_bad_image(image_id):
                continue  # Left out with its picture.
            name = f"{self.path}: annotation {entry_name(entry, i)}"
            try:
                check_new(id_in(entry, "id"), self.items, name)
                item = read_annotation(
                    entry,
                    self.images,
                    self.labels,
                    name,
                    self.with_masks,
                    self.max_overhang,
                )
            except SegmentationError as error:
                self._refuse(error)
                item = error.item
            except ValueError as error:
                self._refuse(error)
                self._lose(entry)
                continue
            self.items[item.id] = item
            self.overhangs.append(overhang(entry["bbox"], self.images[item.image_id]))

    def _is_of_bad_image(self, image_id: CocoId) -> bool:
        return (
            image_id not in self.images
            and known_id(image_id, self.bad_images) is not None
        )

    def _lose(self, entry: Any) -> None:
        """Note the label of an annotation that is left out, if it is known."""
        image_id, category_id = id_in(entry, "image_id"), id_in(entry, "category_id")
        image_id = None if image_id is None else known_id(image_id, self.images)
        if category_id is not None:
            category_id = known_id(category_id, self.labels)
        label = None if category_id is None else self.labels[category_id]
        if image_id is None:
            self.unplaced.add(label)
        else:
            self.lost.setdefault(image_id, set()).add(label)

    def _refuse(self, error: ValueError) -> None:
        if self.on_bad == "raise":
            raise ValueError(
                f"{error} Correct it, or pass on_bad_annotation='skip' (--skip-bad)."
            ) from error
        self.skipped.append(str(error))

    def _notes(self) -> Iterator[str]:
        yield cut_note(self.overhangs)
        yield first_pixel_note(self.items.values(), self.path)
        if self.unplaced:
            names = sorted({*self.labels.values()} & self.unplaced)
            of = "any label" if None in self.unplaced else ", ".join(map(shown, names))
            yield (
                "Annotations of pictures that are unknown were left out, so no picture "
                f"is asked for what it may lack of them: {of}."
            )

    def file(self) -> CocoFile:
        items = self.items.values()
        return CocoFile(
            path=self.path,
            images=self.images,
            labels=self.labels,
            annotations=by_image((i for i in items if not i.is_crowd), self.images),
            crowds=by_image((i for i in items if i.is_crowd), self.images),
            skipped=tuple(self.skipped),
            lost={key: frozenset(labels) for key, labels in self.lost.items()},
            unplaced=frozenset(self.unplaced),
            notes=tuple(filter(None, self._notes())),
        )


def by_image(
    items: Iterable[CocoAnnotation], images: Iterable[CocoId]
) -> dict[CocoId, tuple[CocoAnnotation, ...]]:
    """Return annotations by image id; a picture without any has an empty tuple."""
    lists: dict[CocoId, list[CocoAnnotation]] = {image_id: [] for image_id in images}
    for item in items:
        lists[item.image_id].append(item)
    return {image_id: tuple(found) for image_id, found in lists.items()}
