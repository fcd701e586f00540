"""COCO instance files, `instances_*.json`, checked as they are read.

A file holds "images" (id, file_name, width, height), "categories" (id, name) and
"annotations" (id, image_id, category_id, bbox = x, y, width, height in pixels,
optionally segmentation, area, iscrowd). Source: cocodataset.org/#format-data. An
annotation with iscrowd = 1 marks a region of many instances: it is kept apart, since
no single answer describes it, and evaluation forgives detections inside it.

Training rows of such a file are in `detection_rows.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keras_pg2.codecs.annotations import mask_from_coco
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.coco_entries import (
    CocoAnnotation,
    CocoId,
    CocoImage,
    check_new,
    entry_name,
    read_annotation,
    read_category,
    read_image,
)
from keras_pg2.files.json_files import read_json


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file holds.

    Attributes:
        path: where it was read.
        images: by id, in the order of the file.
        labels: names of the categories by id, in the order of the file.
        annotations: single instances by the id of their picture, in the order of the
            file; an empty tuple for a picture without any.
        crowds: the regions with iscrowd = 1, likewise.
        skipped: what was wrong with each annotation that was left out.
    """

    path: Path
    images: Mapping[CocoId, CocoImage]
    labels: Mapping[CocoId, str]
    annotations: Mapping[CocoId, tuple[CocoAnnotation, ...]]
    crowds: Mapping[CocoId, tuple[CocoAnnotation, ...]]
    skipped: tuple[str, ...] = ()

    def mask(self, annotation: CocoAnnotation) -> np.ndarray:
        """The mask of an annotation, bool[H, W] of its picture.

        Raises:
            ValueError: when it has none, or one that cannot be read.
        """
        name = f"{self.path}: annotation {annotation.id!r}"
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
        return Detections(
            tuple(item.label for item in items),
            np.array([item.box_xyxy for item in items], np.float32),
            np.stack([self.mask(item) for item in items]) if kind == "masks" else None,
        )


def read_coco(
    path: str | Path, on_bad_annotation: Literal["raise", "skip"] = "raise"
) -> CocoFile:
    """Reads and checks an annotation file.

    Boxes up to a pixel beyond the picture are cut at its border.

    Args:
        path: the JSON file.
        on_bad_annotation: "skip" leaves annotations that cannot be used out and lists
            them in `skipped`; COCO's own train2017 has a box without height.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no such file, a key is missing, an id occurs twice or is
            unknown, or a box is empty or outside its picture; names file and item.
    """
    path = Path(path)
    if on_bad_annotation not in ("raise", "skip"):
        raise ValueError(
            "Expected on_bad_annotation to be 'raise' or 'skip', received "
            f"{on_bad_annotation!r}."
        )
    content = read_json(path)
    for key in ("images", "categories", "annotations"):
        if not isinstance(content.get(key), list):
            received = type(content[key]).__name__ if key in content else "none"
            raise ValueError(
                f"{path}: expected a list under {key!r}, received {received}. Is it a "
                "COCO instance file?"
            )
    images: dict[CocoId, CocoImage] = {}
    for i, entry in enumerate(content["images"]):
        image = read_image(entry, f"{path}: image {entry_name(entry, i)}")
        check_new(image.id, images, f"{path}: image {image.id!r}")
        images[image.id] = image
    labels: dict[CocoId, str] = {}
    for i, entry in enumerate(content["categories"]):
        name = f"{path}: category {entry_name(entry, i)}"
        category_id, label = read_category(entry, name)
        check_new(category_id, labels, name)
        labels[category_id] = label
    found: dict[CocoId, CocoAnnotation] = {}
    skipped = []
    for i, entry in enumerate(content["annotations"]):
        name = f"{path}: annotation {entry_name(entry, i)}"
        try:
            item = read_annotation(entry, images, labels, name)
            check_new(item.id, found, name)
            found[item.id] = item
        except ValueError as error:
            if on_bad_annotation == "raise":
                raise ValueError(
                    f"{error} Correct it, or pass on_bad_annotation='skip'."
                ) from error
            skipped.append(str(error))
    single = [item for item in found.values() if not item.is_crowd]
    crowds = [item for item in found.values() if item.is_crowd]
    return CocoFile(
        path=path,
        images=images,
        labels=labels,
        annotations=_by_image(single, images),
        crowds=_by_image(crowds, images),
        skipped=tuple(skipped),
    )


def _by_image(
    items: list[CocoAnnotation], images: Mapping[CocoId, CocoImage]
) -> dict[CocoId, tuple[CocoAnnotation, ...]]:
    lists: dict[CocoId, list[CocoAnnotation]] = {image_id: [] for image_id in images}
    for item in items:
        lists[item.image_id].append(item)
    return {image_id: tuple(found) for image_id, found in lists.items()}
