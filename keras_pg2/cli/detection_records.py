"""What was found in a picture: drawn, as data, as text, as a COCO data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_pg2.checks.texts import printable
from keras_pg2.cli.inputs import address_of, describe
from keras_pg2.cli.messages import notice
from keras_pg2.cli.outputs import expand_user, save_picture

if TYPE_CHECKING:
    from keras_pg2.codecs import Detections
    from keras_pg2.codecs.exchange import AnnotatedPicture


def keep_detections(
    image: Path,
    picture: np.ndarray,
    detections: Detections,
    target: Path | None,
    font: Path | None = None,
) -> dict[str, Any]:
    """Draw what was found into `target` (None: nowhere), and return a record of it.

    Raises:
        OSError: if the drawing cannot be written.
    """
    if target is not None:
        save_picture(detections.plot(picture, font), target)
    return {
        "image": describe(image),
        "width": picture.shape[1],
        "height": picture.shape[0],
        "detections": _describe(detections),
        "annotated": None if target is None else str(target),
    }


def _describe(found: Detections) -> list[dict[str, Any]]:
    assert found.scores is not None
    described = []
    for i, label in enumerate(found.labels):
        box = [round(v, 1) for v in found.boxes_xyxy[i].astype(float).tolist()]
        score = round(float(found.scores[i]), 4)
        item = {"label": label, "box_xyxy": box, "score": score}
        if found.masks is not None:
            item["mask_pixels"] = int(found.masks[i].sum())
        described.append({**item, "tokens": found.tokens[i]})
    return described


def format_record(record: dict[str, Any]) -> str:
    """Return a record as text for people."""
    found = record["detections"]
    labels = [printable(item["label"]) for item in found]
    image = printable(record["image"])
    lines = [
        f"{image} ({record['width']} x {record['height']} pixels): {len(found)} found"
    ]
    if found:
        width = max(5, *map(len, labels))
        has_masks = "mask_pixels" in found[0]
        columns = ["x1", "y1", "x2", "y2", "score"] + ["pixels"] * has_masks
        names = "".join(f"{name:>8}" for name in columns)
        lines.append(f"  {'label':<{width}}{names}")
    for label, item in zip(labels, found):
        numbers = "".join(f"{v:8.1f}" for v in item["box_xyxy"])
        numbers += f"{item['score']:8.2f}"
        if has_masks:
            numbers += f"{item['mask_pixels']:8d}"
        lines.append(f"  {label:<{width}}{numbers}")
    if record["annotated"]:
        lines.append(f"  drawn into {printable(record['annotated'])}")
    return "\n".join(lines)


def check_coco(path: Path, images: Sequence[Path], has_masks: bool) -> Path:
    """Return the path of a COCO file that can be written, with `~` replaced.

    Raises:
        ValueError: if it is not named .json, or a picture is given twice or by its
            address.
        OSError: if its folder cannot be written to.
        ImportError: if there are masks, and no pycocotools.
    """
    path = expand_user(path)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise ValueError(
            f"Expected --coco as a file name ending in .json, received {str(path)!r}."
        )
    folder = path.absolute().parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise OSError(
            f"Expected --coco in a folder that can be written to, received "
            f"{str(path)!r}. Make the folder, or choose another."
        )
    addresses = [image for image in images if address_of(image) is not None]
    if addresses:
        raise ValueError(
            "Expected picture files together with --coco, whose file names are "
            f"relative to it. Received: {describe(addresses[0])}. Download it first."
        )
    if len({os.path.realpath(image) for image in images}) < len(images):
        raise ValueError(
            "Expected each picture once together with --coco, received one twice."
        )
    if has_masks:
        from keras_pg2.codecs.packages import import_coco_mask

        import_coco_mask()
    return path


class CocoFile:
    """A COCO data set that pictures are added to one after another, masks as runs.

    Args:
        path: File to write.
        names: Labels, numbered from 1.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self._category_ids = {name: i for i, name in enumerate(names, start=1)}
        self._pictures: list[AnnotatedPicture] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, image: Path, shape: tuple[int, ...], detections: Detections) -> None:
        """Keep what was found in a picture file of H x W pixels, but no mask."""
        from keras_pg2.codecs.detections import Detections
        from keras_pg2.codecs.exchange import AnnotatedPicture, to_coco_annotations

        height, width = shape[:2]
        nothing = Detections((), np.zeros((0, 4), np.float32))
        name = os.path.relpath(image, self.path.parent)
        self._pictures.append(AnnotatedPicture(name, width, height, nothing))
        self._annotations += to_coco_annotations(
            detections,
            image_id=len(self._pictures),
            category_ids=self._category_ids,
            first_id=len(self._annotations) + 1,
        )

    def write(self) -> None:
        """Write the file, and say so."""
        from keras_pg2.codecs.exchange import to_coco_dataset, write_json

        dataset = to_coco_dataset(self._pictures, self._category_ids)
        write_json({**dataset, "annotations": self._annotations}, self.path)
        notice(f"COCO data set written to {self.path}")
