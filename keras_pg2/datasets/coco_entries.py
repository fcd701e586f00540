"""Single entries of COCO instance files, checked one by one.

Every function takes the `name` that stands at the head of its errors: the file and the
entry. Source of the format: cocodataset.org/#format-data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.annotations import check_segmentation
from keras_pg2.datasets.checks import as_integer

# COCO's own are numbers; other tools write texts.
CocoId: TypeAlias = int | str

# Annotation tools round boxes outwards, and augmentations leave a few pixels beyond the
# picture. More than that is a wrong box or a wrong size.
_OVERHANG = 5.0
_OVERHANG_OF_SIDE = 0.02
# What `codecs.parsing` would take for the end of a label, or for no label at all.
_NO_LABEL = re.compile(r";(\s|$)|<(loc|seg)\d|<(bos|eos|pad)>|[\r\n]")


class CocoImage(NamedTuple):
    """A picture; `file_name` is relative to a folder the file does not name."""

    id: CocoId
    file_name: str
    width: int
    height: int


class CocoAnnotation(NamedTuple):
    """One instance.

    box_xyxy: x1, y1, x2, y2 in pixels, within the picture, x1 < x2 and y1 < y2.
    area: in pixels, of the mask where the file has one.
    segmentation: polygons or run lengths as in the file; None where there are none.
    """

    id: CocoId
    image_id: CocoId
    label: str
    box_xyxy: tuple[float, float, float, float]
    area: float
    segmentation: Any
    is_crowd: bool


def entry_name(entry: object, index: int) -> str:
    """The id of an entry for errors, or its place where it has none."""
    if isinstance(entry, Mapping) and "id" in entry:
        return shown(entry["id"])
    return f"at position {index}"


def _get(entry: object, key: str, kinds: tuple[type, ...], name: str) -> Any:
    if not isinstance(entry, Mapping) or key not in entry:
        raise ValueError(f"{name}: expected the key {key!r}, which is missing.")
    value = as_integer(entry[key]) if int in kinds else entry[key]
    # JSON's true is an int in Python.
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"{name}: expected {key!r} as {expected}, received {shown(value)}."
        )
    return value


def _get_known(entry: object, key: str, known: Container[CocoId], name: str) -> CocoId:
    value = _get(entry, key, (int, str), name)
    found = known_id(value, known)
    if found is None:
        raise ValueError(f"{name}: {key} {shown(value)} is unknown in this file.")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_new(item_id: CocoId | None, seen: Mapping[CocoId, object], name: str) -> None:
    """Raises ValueError when an entry of this id was seen before."""
    if item_id in seen:
        raise ValueError(f"{name}: expected every id once, received it twice.")


def read_image(entry: object, name: str) -> CocoImage:
    """Raises ValueError when the entry is no picture."""
    image = CocoImage(
        id=_get(entry, "id", (int, str), name),
        file_name=_get(entry, "file_name", (str,), name),
        width=_get(entry, "width", (int,), name),
        height=_get(entry, "height", (int,), name),
    )
    if not (0 < image.width < 2**31 and 0 < image.height < 2**31):
        raise ValueError(
            f"{name}: expected a width and height in pixels, received "
            f"width={shown(image.width)}, height={shown(image.height)}."
        )
    return image


def read_category(entry: object, name: str) -> tuple[CocoId, str]:
    """Id and name; ValueError when one is missing."""
    label = _get(entry, "name", (str,), name).strip()
    return _get(entry, "id", (int, str), name), label


def check_label(label: str, name: str) -> str:
    """Return the label; raise ValueError if the model could not write it."""
    if not label or _NO_LABEL.search(label):
        raise ValueError(
            f"{name}: expected a name the model can write, received {label!r}. A name "
            "has no line break, no '; ' and no token such as <loc0001>."
        )
    return label


def id_in(entry: object, key: str) -> CocoId | None:
    """Return the id that an entry has under a key; None if it has none."""
    value = as_integer(entry.get(key)) if isinstance(entry, Mapping) else None
    is_id = isinstance(value, int | str) and not isinstance(value, bool)
    return value if is_id else None  # type: ignore[return-value]


def known_id(value: CocoId, known: Container[CocoId]) -> CocoId | None:
    """Return the id that is meant: 7 for "7", and "7" for 7, where it alone is known.

    None for an id that is not known.
    """
    if value in known:
        return value
    text = str(value)
    # str and back: not of "07", "1_0" or digits of other scripts.
    is_number = len(text) < 20 and text.lstrip("-").isdecimal()
    other: CocoId = int(text) if isinstance(value, str) and is_number else text
    return other if str(other) == text and other in known else None


def read_annotation(
    entry: Any,
    images: Mapping[CocoId, CocoImage],
    labels: Mapping[CocoId, str],
    name: str,
    with_masks: bool = True,
    max_overhang: float | None = None,
) -> CocoAnnotation:
    """Read an instance; its box is cut at the border of its picture.

    Args:
        entry: the entry.
        images: pictures by id.
        labels: names of categories by id, also those that the model cannot write.
        name: file and entry, for errors.
        with_masks: whether the segmentation is checked.
        max_overhang: most pixels of a box beyond the picture; None for 5 or a
            fiftieth of the side, whichever is more.

    Raises:
        ValueError: if the entry is not an instance of one of the `images`;
            `SegmentationError` if only its segmentation cannot be used.
    """
    item_id = _get(entry, "id", (int, str), name)
    image_id = _get_known(entry, "image_id", images, name)
    category_id = _get_known(entry, "category_id", labels, name)
    check_label(labels[category_id], f"{name}: category {shown(category_id)}")
    bbox = _get(entry, "bbox", (list,), name)
    box = cut_box(bbox, images[image_id], name, max_overhang)
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(
            f"{name}: expected iscrowd as 0 or 1, received {shown(crowd)}."
        )
    area = entry.get("area")
    if area is None:
        area = (box[2] - box[0]) * (box[3] - box[1])
    if not _is_number(area) or not 0 <= area < 1e18:
        raise ValueError(f"{name}: expected an area in pixels, received {shown(area)}.")
    # Tools that export boxes only write an empty list of polygons.
    segmentation = entry.get("segmentation") or None
    item = CocoAnnotation(
        id=item_id,
        image_id=image_id,
        label=labels[category_id],
        box_xyxy=box,
        area=area,
        segmentation=segmentation,
        is_crowd=bool(crowd),
    )
    if segmentation is not None and with_masks:
        image = images[image_id]
        try:
            check_segmentation(segmentation, image.width, image.height)
        except ValueError as error:
            raise SegmentationError(f"{name}: {error}", item) from error
    return item


class SegmentationError(ValueError):
    """An annotation whose box can be used, but not its mask.

    Args:
        message: what is wrong.
        item: the annotation.
    """

    def __init__(self, message: str, item: CocoAnnotation) -> None:
        super().__init__(message)
        self.item = item


def first_pixel_note(items: Collection[CocoAnnotation], path: Path) -> str:
    """Return a note on boxes that may be in parts of the picture; "" without any.

    Args:
        items: all of a file.
        path: the file, for errors.

    Raises:
        ValueError: if all boxes are within the first pixel of their pictures.
    """
    # Ends are sums, which may be rounded up. The first pixel itself is a box.
    found = [
        item
        for item in items
        if max(item.box_xyxy) < 1 + 1e-6 and any(v % 1 for v in item.box_xyxy)
    ]
    if found and all(max(item.box_xyxy) < 1 + 1e-6 for item in items):
        raise ValueError(
            f"{path}: expected boxes in pixels, received x1, y1, x2, y2 of at most 1 "
            f"alone, as {list(found[0].box_xyxy)}. Are they parts of width and height? "
            "Multiply x by the width of the picture, and y by its height."
        )
    if not found:
        return ""
    return (
        "Boxes within the first pixel of their picture, which may be parts of width "
        f"and height: {len(found)}."
    )


def cut_note(overhangs: Iterable[float]) -> str:
    """Return a note on boxes that ended more than a pixel outside; "" without any."""
    cut = [each for each in overhangs if each > 1]
    return (
        f"Boxes cut at the border of their picture: {len(cut)}, by up to "
        f"{max(cut):g} pixels."
        if cut
        else ""
    )


def overhang(bbox: Sequence[float], image: CocoImage) -> float:
    """Return how many pixels a box x, y, width, height ends beyond its picture."""
    x, y, width, height = bbox
    return max(-x, -y, x + width - image.width, y + height - image.height, 0.0)


def cut_box(
    bbox: list[Any], image: CocoImage, name: str, max_overhang: float | None = None
) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 of a box x, y, width, height, cut at the border.

    Args:
        bbox: the box in pixels.
        image: the picture it is in.
        name: file and entry, for errors.
        max_overhang: as in `read_annotation`.

    Raises:
        ValueError: if it is not a box, ends too far outside, or has no area.
    """
    # JSON may hold NaN, and integers that no float can.
    if len(bbox) != 4 or not all(_is_number(v) and abs(v) < 1e9 for v in bbox):
        raise ValueError(
            f"{name}: expected bbox as four finite numbers x, y, width, height, "
            f"received {shown(bbox)}."
        )
    x, y, width, height = bbox
    right, bottom = image.width, image.height
    if max_overhang is None:
        max_overhang = max(_OVERHANG, _OVERHANG_OF_SIDE * max(right, bottom))
    beyond = overhang(bbox, image)
    if beyond > max_overhang:
        raise ValueError(
            f"{name}: expected a box x, y, width, height within the picture of "
            f"{right} x {bottom} pixels, received {bbox}, which ends {beyond:g} "
            "pixels outside. Is it x1, y1, x2, y2? If it is right, cut such boxes by "
            f"max_overhang={math.ceil(beyond)} (--max-overhang {math.ceil(beyond)})."
        )
    x1, x2 = (min(max(v, 0.0), float(right)) for v in (x, x + width))
    y1, y2 = (min(max(v, 0.0), float(bottom)) for v in (y, y + height))
    if not (x1 < x2 and y1 < y2):
        raise ValueError(
            f"{name}: expected a box with an area, received x, y, width, height {bbox}."
        )
    return x1, y1, x2, y2
