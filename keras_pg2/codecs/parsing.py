"""What the model wrote about things in the picture, as boxes, masks and labels.

An answer to `detect` or `segment` is a chain of instances joined by " ; ":

    <locY1><locX1><locY2><locX2>[<seg...> x 16] label ; <locY1>...

`parse_detections` reads any text, however far from this, and never raises on it: what
is no instance is handed back as `unread`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.location_tokens import (
    NUM_BINS,
    bins_to_text,
    decode_boxes_yxyx,
    to_pixels_xyxy,
)
from keras_pg2.codecs.segment_tokens import NUM_CODES, NUM_TOKENS

if TYPE_CHECKING:
    from keras_pg2.codecs.mask_codec import MaskCodec

# A run of location tokens, with the segment tokens that follow it.
_RUN = re.compile(r"((?:<loc[0-9]{4}>\s*)+)((?:<seg[0-9]{3}>\s*)*)")
_BIN = re.compile(r"<loc([0-9]{4})>")
_CODE = re.compile(r"<seg([0-9]{3})>")
_JOINT = re.compile(r";(?:\s+|$)")
_CUT_TOKEN = re.compile(r"<(?:loc|seg)[0-9]*$")
_CONTROL = re.compile(r"<(?:bos|eos|pad)>")


class _Instance(NamedTuple):
    """A box as written, with its codes where it has a whole mask."""

    bins: list[int]
    codes: list[int]
    label: str

    @property
    def tokens(self) -> str:
        return bins_to_text(self.bins) + "".join(f"<seg{c:03d}>" for c in self.codes)


def parse_detections(
    text: str, width: int, height: int, mask_codec: MaskCodec | None = None
) -> Detections:
    """Read an answer to `detect` or `segment`.

    A label ends at ";" before a space, at the next box or at the end, and may hold any
    other characters. Corners in the wrong order are sorted. Of several boxes in a row
    only the last has the label and the mask. Boxes of other than four tokens, tokens
    above 1023, masks of other than sixteen `<seg...>` tokens of 0 to 127 and words that
    follow no box go to `unread`; a box stays when its mask cannot be read.

    Args:
        text: the answer, of any content.
        width: width of the caller's picture in pixels, upright as the model saw it.
            `PIL.Image.open` gives the stored size, which is swapped for photographs
            that are stored turned; `keras_pg2.preprocessing.images.open_image` turns
            them upright.
        height: its height in pixels, likewise.
        mask_codec: decodes masks; without it there are none, and `tokens` has them as
            written.

    Raises:
        TypeError: if `text` is not `str`.
        ValueError: if width or height is not positive.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"Expected the answer as str, received {type(text).__name__}. Pass one "
            "answer at a time."
        )
    instances, unread = _read(_CONTROL.sub("", text))
    bins = np.array([instance.bins for instance in instances]).reshape(-1, 4)
    boxes_yxyx = _sort_corners(decode_boxes_yxyx(bins))
    boxes_xyxy = to_pixels_xyxy(boxes_yxyx, width, height)
    masks = None
    if mask_codec is not None:
        masks = np.zeros((len(instances), height, width), bool)
        rows = [i for i, instance in enumerate(instances) if instance.codes]
        codes = np.array([instances[i].codes for i in rows]).reshape(-1, NUM_TOKENS)
        masks[rows] = mask_codec.decode(codes, boxes_xyxy[rows], width, height)
    return Detections(
        labels=tuple(instance.label for instance in instances),
        boxes_xyxy=boxes_xyxy,
        masks=masks,
        tokens=tuple(instance.tokens for instance in instances),
        unread=tuple(unread),
    )


def has_only_whole_boxes(text: str) -> bool:
    """Whether an answer has boxes, and every location token of it belongs to one."""
    instances, _ = _read(_CONTROL.sub("", text))
    return bool(instances) and text.count("<loc") == 4 * len(instances)


def _read(text: str) -> tuple[list[_Instance], list[str]]:
    instances: list[_Instance] = []
    unread: list[str] = []
    cut = _CUT_TOKEN.search(text)
    text = text[: cut.start()] if cut else text
    runs = list(_RUN.finditer(text))
    _collect_words(text[: runs[0].start()] if runs else text, unread)
    for run, following in zip(runs, [*runs[1:], None]):
        end = following.start() if following else len(text)
        label, *words = _JOINT.split(text[run.end() : end])
        boxes, surplus = _group_bins(run.group(1))
        if surplus:
            unread.append(surplus)
        codes = [int(number) for number in _CODE.findall(run.group(2))]
        is_mask = len(codes) == NUM_TOKENS and max(codes) < NUM_CODES
        if codes and not (boxes and is_mask):
            unread.append("".join(f"<seg{c:03d}>" for c in codes))
            codes = []
        if boxes:
            instances += [_Instance(bins, [], "") for bins in boxes[:-1]]
            instances.append(_Instance(boxes[-1], codes, label.strip()))
        else:
            words.insert(0, label)
        for word in words:
            _collect_words(word, unread)
    if cut:
        unread.append(cut.group())
    return instances, unread


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
    return found, bins_to_text(surplus)


def _collect_words(text: str, unread: list[str]) -> None:
    for piece in _JOINT.split(text):
        if piece.strip():
            unread.append(piece.strip())


def _sort_corners(boxes_yxyx: np.ndarray) -> np.ndarray:
    corners = boxes_yxyx.reshape(-1, 2, 2)
    return np.sort(corners, axis=1).reshape(-1, 4)
