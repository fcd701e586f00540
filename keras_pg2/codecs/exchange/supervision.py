"""Detections to `supervision.Detections` and back, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_pg2.codecs.detections import Detections
from keras_pg2.codecs.exchange.class_ids import id_of, name_of, positions
from keras_pg2.codecs.packages import import_supervision

if TYPE_CHECKING:
    import supervision

# Where supervision's own readers of vision-language models put the labels.
_NAMES = "class_name"
_TOKENS = "tokens"
_UNREAD = "unread"


def to_supervision(
    detections: Detections, class_names: Sequence[str] | None = None
) -> supervision.Detections:
    """A `supervision.Detections` of the same boxes, masks, scores and labels.

    Args:
        detections: of one picture.
        class_names: `class_id` is the label's place in this list; None numbers the
            labels in the order of their first appearance, which differs from picture
            to picture.

    Returns:
        `xyxy` float32[N, 4], `mask` bool[N, H, W] or None, `confidence` float32[N] or
        None, `class_id` int64[N]; the labels in `data["class_name"]`, tokens of the
        model in `data["tokens"]`, unread pieces in `metadata["unread"]`.

    Raises:
        ImportError: when supervision is not installed.
        ValueError: when a label is not in `class_names`, or a name is there twice.
    """
    labels = detections.labels
    ids = positions(
        tuple(dict.fromkeys(labels)) if class_names is None else class_names
    )
    data: dict[str, np.ndarray | list] = {_NAMES: np.array(labels, dtype=str)}
    if detections.tokens:
        data[_TOKENS] = np.array(detections.tokens, dtype=str)
    return import_supervision().Detections(
        xyxy=detections.boxes_xyxy,
        mask=detections.masks,
        confidence=detections.scores,
        class_id=np.array([id_of(label, ids) for label in labels], dtype=int),
        data=data,
        metadata={_UNREAD: list(detections.unread)} if detections.unread else {},
    )


def from_supervision(
    sv_detections: supervision.Detections, class_names: Sequence[str] | None = None
) -> Detections:
    """Detections of a `supervision.Detections`; what has no place here is left out.

    Args:
        sv_detections: from any source. Compact masks are unfolded.
        class_names: the names of `class_id`, for values without
            `data["class_name"]`.

    Raises:
        ValueError: when there are class numbers without names, or the masks have
            other rows than the boxes.
    """
    masks, scores = sv_detections.mask, sv_detections.confidence
    return Detections(
        labels=_labels(sv_detections, class_names),
        boxes_xyxy=np.array(sv_detections.xyxy, np.float32).reshape(-1, 4),
        masks=None if masks is None else np.array(masks, bool),
        scores=None if scores is None else np.array(scores, np.float32),
        tokens=tuple(str(t) for t in sv_detections.data.get(_TOKENS, ())),
        unread=tuple(sv_detections.metadata.get(_UNREAD, ())),
    )


def _labels(
    sv_detections: supervision.Detections, class_names: Sequence[str] | None
) -> tuple[str, ...]:
    if _NAMES in sv_detections.data:
        return tuple(str(name) for name in sv_detections.data[_NAMES])
    ids = sv_detections.class_id
    if ids is None:
        return ("",) * len(sv_detections)
    if class_names is None and len(ids):
        raise ValueError(
            "Expected the names of the classes, received class numbers without "
            'data["class_name"]. Pass class_names.'
        )
    return tuple(name_of(int(i), class_names or ()) for i in ids)
