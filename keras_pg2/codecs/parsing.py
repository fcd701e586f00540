"""What the model wrote about things in the picture, as boxes and labels.

An answer to `detect` or `segment` is a chain of instances joined by " ; ":

    <locY1><locX1><locY2><locX2>[<seg...> x 16] label ; <locY1>...

`parse_detections` reads any text, however far from this, and never raises on it: what
is no instance is handed back as `unread`.
"""

from __future__ import annotations

import re

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.location_tokens import (
    NUM_BINS,
    decode_boxes_yxyx,
    to_pixels_xyxy,
)

# A run of location tokens, with the segment tokens that follow it.
_RUN = re.compile(r"((?:<loc\d{4}>\s*)+)((?:<seg\d{3}>\s*)*)")
_BIN = re.compile(r"<loc(\d{4})>")
_JOINT = re.compile(r"\s*;(?:\s+|$)")
_CONTROL = re.compile(r"<(?:bos|eos|pad)>")


def parse_detections(text: str, width: int, height: int) -> Detections:
    """Read an answer to `detect` or `segment`.

    A label ends at ";" before a space, at the next box or at the end, and may hold any
    other characters. Corners in the wrong order are sorted. Of several boxes in a row
    only the last has the label. Boxes of other than four tokens, tokens above 1023 and
    words that follow no box go to `unread`; `<seg...>` tokens are skipped.

    Args:
        text: the answer, of any content.
        width: width of the caller's picture in pixels, upright as the model saw it.
            `PIL.Image.open` gives the stored size, which is swapped for photographs
            that are stored turned; `keras_pg2.preprocessing.images.open_image` turns
            them upright.
        height: its height in pixels, likewise.

    Raises:
        TypeError: if `text` is not `str`.
        ValueError: if width or height is not positive.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"Expected the answer as str, received {type(text).__name__}. Pass one "
            "answer at a time."
        )
    text = _CONTROL.sub("", text)
    labels: list[str] = []
    boxes: list[list[int]] = []
    unread: list[str] = []
    runs = list(_RUN.finditer(text))
    _collect_words(text[: runs[0].start()] if runs else text, unread)
    for run, following in zip(runs, [*runs[1:], None]):
        end = following.start() if following else len(text)
        label, *words = _JOINT.split(text[run.end() : end])
        found, surplus = _group_bins(run.group(1))
        if surplus:
            unread.append(surplus)
        if found:
            boxes += found
            labels += [""] * (len(found) - 1) + [label.strip()]
        else:
            words.insert(0, label)
        for word in words:
            _collect_words(word, unread)
    boxes_yxyx = decode_boxes_yxyx(np.array(boxes).reshape(-1, 4))
    return Detections(
        labels=tuple(labels),
        boxes_xyxy=to_pixels_xyxy(_sort_corners(boxes_yxyx), width, height),
        unread=tuple(unread),
    )


def _group_bins(run: str) -> tuple[list[list[int]], str]:
    """Boxes of four bins each, and the tokens that make no box.

    Of a run that is no multiple of four the first tokens are the surplus: a box lost
    its beginning, or never got whole.
    """
    bins = [int(number) for number in _BIN.findall(run)]
    first = len(bins) % 4
    surplus = bins[:first]
    found = []
    for i in range(first, len(bins), 4):
        box = bins[i : i + 4]
        if max(box) < NUM_BINS:
            found.append(box)
        else:
            surplus += box
    return found, "".join(f"<loc{b:04d}>" for b in surplus)


def _collect_words(text: str, unread: list[str]) -> None:
    for piece in _JOINT.split(text):
        if piece.strip():
            unread.append(piece.strip())


def _sort_corners(boxes_yxyx: np.ndarray) -> np.ndarray:
    corners = boxes_yxyx.reshape(-1, 2, 2)
    return np.sort(corners, axis=1).reshape(-1, 4)
