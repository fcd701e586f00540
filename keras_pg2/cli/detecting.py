"""Boxes of the model's answers: as text, as data, and drawn into a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_pg2.cli.answering import Answer, read_picture
from keras_pg2.cli.outputs import save_picture
from keras_pg2.codecs import Detections, draw_detections, parse_detections


def detect_in(answer: Answer, target: Path | None) -> dict[str, Any]:
    """Reads the boxes of an answer and draws them.

    Args:
        answer: to a `detect` prompt about a picture.
        target: file of the annotated picture, replaced if it exists; None draws
            nothing.

    Returns:
        A record of the picture's path and size in pixels, its detections (label and
        box x1, y1, x2, y2 in pixels), what could not be read, and the target.

    Raises:
        OSError: when the picture cannot be written.
    """
    assert answer.image is not None
    picture = read_picture(answer.image)
    height, width = picture.shape[:2]
    found = parse_detections(answer.text, width, height)
    if target is not None:
        save_picture(draw_detections(picture, found), target)
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
