"""Pictures one by one to an annotation file in memory, for formats of many files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_pg2.codecs.annotations import mask_to_counts
from keras_pg2.codecs.detections import Detections
from keras_pg2.datasets.checks import Problems
from keras_pg2.datasets.coco import CocoFile, by_image
from keras_pg2.datasets.coco_entries import (
    CocoAnnotation,
    CocoId,
    CocoImage,
    check_label,
    cut_box,
    cut_note,
    first_pixel_note,
)


@dataclass
class Collector:
    """Collects pictures with what is in them.

    Attributes:
        path: what is read.
        problems: stops at bad pictures, or collects what is wrong with them.
        labels: names of the classes; others are added as they come.
    """

    path: Path
    problems: Problems
    labels: list[str] = field(default_factory=list)
    _images: dict[CocoId, CocoImage] = field(default_factory=dict)
    _items: list[CocoAnnotation] = field(default_factory=list)
    _lost: dict[CocoId, frozenset[str | None]] = field(default_factory=dict)
    _overhangs: list[float] = field(default_factory=list)

    def add(
        self,
        picture: str,
        size: tuple[int, int],
        found: Detections,
        overhangs: Iterable[float],
        lost: frozenset[str | None] = frozenset(),
    ) -> None:
        """Add a picture.

        Args:
            picture: its path, which becomes absolute, and its id too.
            size: its width and height in pixels, upright.
            found: what is in it, in its pixels.
            overhangs: how many pixels each thing ended beyond the picture.
            lost: labels of what was left out of it, as `CocoFile.lost` has them.

        Raises:
            ValueError: if a label is one that the model cannot write, or a box has no
                area; nothing is added then.
        """
        path = os.path.abspath(picture)
        image = CocoImage(path, path, *size)
        items = [
            self._item(image, len(self._items) + i, found, i) for i in range(len(found))
        ]
        self._images[image.id] = image
        self._items += items
        self._overhangs += overhangs
        if lost:
            self._lost[image.id] = lost
        self.labels += [x for x in dict.fromkeys(found.labels) if x not in self.labels]

    def _item(
        self, image: CocoImage, item_id: int, found: Detections, index: int
    ) -> CocoAnnotation:
        name = f"object {index}"
        label = check_label(found.labels[index].strip(), name)
        x1, y1, x2, y2 = found.boxes_xyxy[index].astype(np.float64).tolist()
        box = cut_box([x1, y1, x2 - x1, y2 - y1], image, name)
        mask = None if found.masks is None else found.masks[index]
        has_mask = mask is not None and bool(mask.any())
        area = (box[2] - box[0]) * (box[3] - box[1])
        return CocoAnnotation(
            id=item_id,
            image_id=image.id,
            label=label,
            box_xyxy=box,
            area=float(mask.sum()) if mask is not None and has_mask else area,
            segmentation=mask_to_counts(mask)
            if mask is not None and has_mask
            else None,
            is_crowd=False,
        )

    def file(self, notes: tuple[str, ...] = ()) -> CocoFile:
        """Return what was collected.

        Raises:
            ValueError: if no picture is left, or all boxes are parts of width and
                height in the place of pixels.
        """
        self.problems.check_some_left(len(self._images), str(self.path))
        own = (cut_note(self._overhangs), first_pixel_note(self._items, self.path))
        return CocoFile(
            path=self.path,
            images=self._images,
            labels=dict(enumerate(self.labels)),
            annotations=by_image(self._items, self._images),
            crowds=by_image([], self._images),
            skipped=tuple(self.problems.messages),
            lost=self._lost,
            notes=(*notes, *filter(None, own)),
        )
