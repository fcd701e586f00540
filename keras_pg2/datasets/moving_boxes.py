"""Boxes written in a text, moved with a crop of the picture.

A text with boxes is a chain of instances joined by " ; ", see `codecs.parsing`:

    <locY1><locX1><locY2><locX2>[<seg...> x 16] label ; <locY1>...

Mask tokens are relative to their box, so a box with a mask can be moved, but not cut.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from keras_pg2.codecs.location_tokens import (
    bins_to_text,
    boxes_yxyx_to_text,
    decode_boxes_yxyx,
)

JOINT = " ; "
_BOX = re.compile(r"((?:<loc[0-9]{4}>){4})((?:<seg[0-9]{3}>){16})?([^<>]*(?:<noise>)?)")
_BIN = re.compile(r"<loc([0-9]{4})>")
_FOUR = re.compile(r"(?:<loc[0-9]{4}>){4}")
_RUN = re.compile(r"(?:<loc[0-9]{4}>)+")


class Crop(NamedTuple):
    """A part of a picture in parts of its height and width, 0 to 1."""

    y1: float
    x1: float
    y2: float
    x2: float


class Instance(NamedTuple):
    """A box as written: four bins y1 x1 y2 x2, mask tokens or "", and " label"."""

    bins: tuple[int, int, int, int]
    mask_tokens: str
    label: str


def has_boxes(text: str) -> bool:
    """True when there is any location token in a text."""
    return "<loc" in text


def read_instances(text: str) -> list[Instance]:
    """The instances of a training answer, which must be nothing else.

    Raises:
        ValueError: when a piece of the text is no instance.
    """
    instances = []
    for piece in text.split(JOINT):
        found = _BOX.fullmatch(piece)
        bins = [int(b) for b in _BIN.findall(found.group(1))] if found else []
        if found is None or max(bins) > 1023:
            raise ValueError(
                "Expected four tokens <loc0000>..<loc1023>, none or sixteen <seg...> "
                f"and a label, joined by {JOINT!r}; received {piece!r:.120}. Boxes in "
                "another form cannot follow a crop: leave the crop out for this row."
            )
        y1, x1, y2, x2 = bins
        instances.append(
            Instance((y1, x1, y2, x2), found.group(2) or "", found.group(3))
        )
    return instances


def write_instances(instances: list[Instance]) -> str:
    """The text of instances."""
    return JOINT.join(
        bins_to_text(one.bins) + one.mask_tokens + one.label for one in instances
    )


def move_instances(
    instances: list[Instance], crop: Crop, min_visible: float
) -> list[Instance] | None:
    """Instances as they are in a crop; those too far outside are dropped.

    Args:
        instances: of the whole picture.
        crop: the part that stays.
        min_visible: a box stays, cut at the border, when at least this part of its
            area is inside, in (0, 1].

    Returns:
        The instances in the order they had; None when the answer would no longer fit
        its prompt: a label lost its last instance, or a box with a mask was cut.
    """
    moved = []
    for one in instances:
        [box] = decode_boxes_yxyx(np.array([one.bins])).astype(float)
        low = np.maximum(box[:2], (crop.y1, crop.x1))
        high = np.minimum(box[2:], (crop.y2, crop.x2))
        extent = np.maximum(high - low, 0)
        # A box one bin high has no area, but a position.
        whole = np.maximum(box[2:] - box[:2], 1e-9)
        is_inside = bool((high >= low).all())
        visible = float(np.prod(np.maximum(extent, 1e-9) / whole)) if is_inside else 0.0
        if visible < min_visible - 1e-6:
            continue
        if one.mask_tokens and visible < 1 - 1e-6:
            return None
        size = np.array([crop.y2 - crop.y1, crop.x2 - crop.x1])
        corner = np.array([crop.y1, crop.x1])
        inside = np.clip(np.concatenate([(low - corner), (high - corner)]), 0, None)
        relative = np.minimum(inside / np.tile(size, 2), 1)
        [text] = boxes_yxyx_to_text(relative[None])
        y1, x1, y2, x2 = (int(b) for b in _BIN.findall(text))
        moved.append(one._replace(bins=(y1, x1, y2, x2)))
    if {one.label for one in moved} != {one.label for one in instances}:
        return None
    return moved


def move_answer(text: str, crop: Crop, min_visible: float) -> str | None:
    """An answer as it is for a crop; None where `move_instances` gives None.

    Raises:
        ValueError: when the text has location tokens, but is no chain of instances.
    """
    if not has_boxes(text):
        return text
    moved = move_instances(read_instances(text), crop, min_visible)
    return None if moved is None else write_instances(moved)


def move_prompt(text: str, crop: Crop) -> str | None:
    """A prompt with boxes among its words as it is for a crop; None when one is cut.

    Raises:
        ValueError: when location tokens do not come in groups of four.
    """
    groups = _RUN.findall(text)
    if any(run.count("<loc") % 4 for run in groups) or has_boxes(_RUN.sub("", text)):
        raise ValueError(
            "Expected location tokens <loc0000>..<loc1023> in groups of four, received "
            f"{text!r:.120}."
        )
    for box in dict.fromkeys(_FOUR.findall(text)):
        moved = move_instances(read_instances(box), crop, min_visible=1.0)
        if moved is None:
            return None
    return _FOUR.sub(lambda found: move_answer(found[0], crop, 1.0) or "", text)
