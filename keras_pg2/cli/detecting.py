"""Boxes of the model's answers: as text, as data, and drawn into a copy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from keras_pg2.cli.answering import Answer, read_picture
from keras_pg2.codecs import Detections, draw_boxes, parse_detections


def plan_outputs(images: Sequence[Path], output: Path | None) -> list[Path]:
    """Where each annotated picture will be written; never over a picture that is read.

    Args:
        images: the picture files.
        output: a file (one picture, a name with an image ending), a folder, or None
            for `NAME_boxes.png` beside each picture.

    Raises:
        ValueError: when two pictures would be written to one file, an input would be
            overwritten, or one file is named for several pictures.
        OSError: when the folder cannot be made or written to.
    """
    if output is not None and _is_picture_name(output):
        if len(images) > 1:
            raise ValueError(
                f"Expected --output to be a folder for {len(images)} pictures, "
                f"received the file {str(output)!r}. Name a folder."
            )
        targets = [output]
    else:
        folders = [output or image.parent for image in images]
        targets = [
            folder / f"{image.stem}_boxes.png" for folder, image in zip(folders, images)
        ]
    _check_targets(images, targets)
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise OSError(
                f"Expected a folder to write {target.name} to, but {target.parent} is "
                "read-only. Pass another one as --output, or --no-draw."
            )
    return targets


def _is_picture_name(path: Path) -> bool:
    return not path.is_dir() and path.suffix.lower() in Image.registered_extensions()


def _check_targets(images: Sequence[Path], targets: Sequence[Path]) -> None:
    inputs = {image.resolve() for image in images}
    for i, target in enumerate(targets):
        if target.resolve() in inputs:
            raise ValueError(
                f"Expected --output apart from the pictures that are read, received "
                f"{str(target)!r}, which is one of them. Choose another name."
            )
        if target in targets[:i]:
            first = images[targets.index(target)]
            raise ValueError(
                f"Expected pictures of different names, but {first} and {images[i]} "
                f"would both be drawn to {target}. Detect in one of them at a time."
            )


def detect_in(answer: Answer, target: Path | None) -> dict[str, Any]:
    """Reads the boxes of an answer and draws them.

    Args:
        answer: to a `detect` prompt about a picture.
        target: file of the annotated picture; None draws nothing.

    Returns:
        A record of the picture's path and size in pixels, its detections (label and
        box x1, y1, x2, y2 in pixels), what could not be read, and the target.
    """
    assert answer.image is not None
    picture = read_picture(answer.image)
    height, width = picture.shape[:2]
    found = parse_detections(answer.text, width, height)
    if target is not None:
        draw_boxes(picture, found).save(target)
    return {
        "image": str(answer.image),
        "width": width,
        "height": height,
        "prompt": answer.prompt,
        "text": answer.text,
        "detections": _records(found),
        "unread": list(found.unread),
        "annotated": None if target is None else str(target),
    }


def _records(found: Detections) -> list[dict[str, Any]]:
    boxes = found.boxes_xyxy.round(1).astype(float).tolist()
    return [
        {"label": label, "box_xyxy": [round(v, 1) for v in box]}
        for label, box in zip(found.labels, boxes)
    ]


def format_record(record: dict[str, Any]) -> str:
    """A record for people to read."""
    found = record["detections"]
    lines = [
        f"{record['image']} ({record['width']} x {record['height']} pixels): "
        f"{len(found)} found"
    ]
    if found:
        width = max(5, *(len(item["label"]) for item in found))
        names = "".join(f"{name:>8}" for name in ("x1", "y1", "x2", "y2"))
        lines.append(f"  {'label':<{width}}{names}")
    for item in found:
        numbers = "".join(f"{v:8.1f}" for v in item["box_xyxy"])
        lines.append(f"  {item['label']:<{width}}{numbers}")
    if record["unread"]:
        lines.append(f"  not readable as boxes: {' ; '.join(record['unread'])}")
    if record["annotated"]:
        lines.append(f"  drawn into {record['annotated']}")
    return "\n".join(lines)
