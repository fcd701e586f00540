"""Pictures that an annotation file lists several times, as merged exports do."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from keras_pg2.datasets.coco import CocoFile
from keras_pg2.datasets.coco_entries import CocoAnnotation, CocoId, CocoImage


def joined(coco: CocoFile) -> CocoFile:
    """Return the file with one entry for each picture file, and a note if that is new.

    The first entry has the annotations of all, each box of a label once: rows of each
    entry would contradict each other. Entries of another size are left alone, for one
    of them is wrong.
    """
    first: dict[tuple[str, int, int], CocoId] = {}
    places = {
        key: first.setdefault(_file(image), key) for key, image in coco.images.items()
    }
    num_more = len(places) - len(first)
    if not num_more:
        return coco
    lost: dict[CocoId, frozenset[str | None]] = {}
    for key, labels in coco.lost.items():
        lost[places[key]] = lost.get(places[key], frozenset()) | labels
    note = (
        "Entries of pictures that are listed several times, joined with the first of "
        f"their picture: {num_more}."
    )
    return replace(
        coco,
        images={key: coco.images[key] for key in first.values()},
        annotations=_moved(coco.annotations, places),
        crowds=_moved(coco.crowds, places),
        lost=lost,
        notes=(*coco.notes, note),
    )


def _file(image: CocoImage) -> tuple[str, int, int]:
    name = posixpath.normpath(image.file_name.replace("\\", "/"))
    return name, image.width, image.height


def _moved(
    annotations: Mapping[CocoId, tuple[CocoAnnotation, ...]],
    places: Mapping[CocoId, CocoId],
) -> dict[CocoId, tuple[CocoAnnotation, ...]]:
    """Return annotations at the first entry of their picture, without repeats."""
    moved: dict[CocoId, tuple[CocoAnnotation, ...]] = {}
    for key, items in annotations.items():
        place = places[key]
        there = moved.get(place, ())
        known = {(item.label, item.box_xyxy) for item in there}
        moved[place] = there + tuple(
            item._replace(image_id=place)
            for item in items
            if (item.label, item.box_xyxy) not in known
        )
    return moved
