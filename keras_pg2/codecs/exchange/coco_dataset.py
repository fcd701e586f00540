"""Pictures with detections as one COCO data set of instances, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_pg2.checks.texts import shown
from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import read_id
from keras_pg2.codecs.exchange.coco import from_coco_results, to_coco_annotations
from keras_pg2.files.json_fields import Fields


@dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture file and what is in it.

    Attributes:
        file_name: as tools will look for it, relative to the folder of pictures.
        width: in pixels, upright.
        height: likewise.
        detections: in its pixels.
    """

    file_name: str
    width: int
    height: int
    detections: Detections


def to_coco_dataset(
    pictures: Sequence[AnnotatedPicture],
    category_ids: Mapping[str, int] | None = None,
    polygons: bool = False,
) -> dict[str, Any]:
    """A COCO data set of instances, which `write_json` makes a file of.

    Args:
        pictures: numbered from 1 in this order.
        category_ids: the number of each label; None numbers the labels that occur
            from 1, by the alphabet.
        polygons: as in `to_coco_annotations`.

    Returns:
        A dictionary of `images`, `annotations` and `categories`.

    Raises:
        ImportError: as `to_coco_annotations`.
        ValueError: when `category_ids` lacks a label, has a number twice, or two
            pictures have the same file name.
    """
    labels = sorted({name for p in pictures for name in p.detections.labels})
    if category_ids is None:
        category_ids = {label: i for i, label in enumerate(labels, start=1)}
    _check_different(list(category_ids.values()), "category ids")
    _check_different([picture.file_name for picture in pictures], "file names")
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures, start=1):
        annotations += to_coco_annotations(
            picture.detections,
            image_id,
            category_ids,
            first_id=len(annotations) + 1,
            polygons=polygons,
        )
    return {
        "info": {"description": "Written by keras_pg2"},
        "licenses": [],
        "images": [
            {
                "id": image_id,
                "file_name": picture.file_name,
                "width": picture.width,
                "height": picture.height,
            }
            for image_id, picture in enumerate(pictures, start=1)
        ],
        "annotations": annotations,
        "categories": [
            {"id": category_id, "name": name, "supercategory": ""}
            for name, category_id in category_ids.items()
        ],
    }


def from_coco_dataset(dataset: Mapping[str, Any]) -> list[AnnotatedPicture]:
    """The pictures of a COCO data set of instances, in its order.

    Regions of crowds (`iscrowd` 1) are left out: they are no single things.

    Args:
        dataset: what `json.load` gives of the file.

    Raises:
        ImportError: when there are segmentations and pycocotools is not installed.
        ValueError: as `from_coco_results`; names the entry.
    """
    if not isinstance(dataset, Mapping):
        raise ValueError(
            f"Expected a COCO data set as an object, received {shown(dataset)}."
        )
    missing = {"images", "annotations", "categories"} - dataset.keys()
    if missing:
        raise ValueError(
            "Expected images, annotations and categories of a COCO data set. Missing: "
            f"{', '.join(sorted(missing))}."
        )
    fields = Fields(dataset, "the COCO data set")
    names = {
        read_id(category, "id"): category.text("name")
        for category in fields.items("categories", Fields.fields)
    }
    images = fields.items("images", Fields.fields)
    records: dict[int | str, list[Mapping[str, Any]]] = {
        read_id(image, "id"): [] for image in images
    }
    _check_different([read_id(image, "id") for image in images], "image ids")
    for annotation, record in zip(
        fields.items("annotations", Fields.fields), dataset["annotations"]
    ):
        image_id = read_id(annotation, "image_id")
        if image_id not in records:
            raise ValueError(
                "Expected annotations of the data set's own images, received one of "
                f"the image_id {shown(image_id)}."
            )
        if not annotation.value("iscrowd", 0):
            records[image_id].append(record)
    return [_picture(image, records[read_id(image, "id")], names) for image in images]


def _picture(
    image: Fields,
    records: Sequence[Mapping[str, Any]],
    names: Mapping[int | str, str],
) -> AnnotatedPicture:
    width, height = _side(image, "width"), _side(image, "height")
    file_name = image.text("file_name")
    try:
        found = from_coco_results(records, names, width, height)
    except ValueError as error:
        raise ValueError(
            f"{image.at('file_name')} {shown(file_name)}: {error}"
        ) from error
    return AnnotatedPicture(file_name, width, height, found)


def _side(fields: Fields, name: str) -> int:
    found = read_id(fields, name)
    if not isinstance(found, int) or not 0 < found < 2**31:
        raise fields.error(name, "a number of pixels")
    return found


def _check_different(values: Sequence[object], what: str) -> None:
    if len(set(values)) != len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"Expected different {what}, received {shown(twice)} twice.")
