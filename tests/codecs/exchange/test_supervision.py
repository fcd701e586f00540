"""Detections to supervision's value and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_pg2.codecs import (
    Detections,
    from_supervision,
    to_supervision,
)
from tests.support.exchange_cases import (
    HEIGHT,
    NAMES,
    WIDTH,
    assert_same,
    instances,
    sv,
    two,
)


@given(instances(st.text(st.characters(exclude_characters="\0"), max_size=5)))
@settings(max_examples=40, deadline=None)
def test_round_trip_is_whole(found):
    assert_same(from_supervision(to_supervision(found)), found)


def test_tokens_and_unread_pieces_stay():
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    found = Detections(("cat",), boxes, tokens=("<loc0001>",), unread=("a", "b"))
    again = from_supervision(to_supervision(found))
    assert (again.tokens, again.unread) == (found.tokens, found.unread)


def test_fields():
    value = to_supervision(two(), class_names=NAMES[::-1])
    assert value.class_id.tolist() == [2, 1]
    assert value["class_name"].tolist() == ["cat", "dog"]
    assert value.confidence.tolist() == [0.75, 0.5]
    assert value.area.tolist() == [60, 0]
    assert value[value.confidence > 0.6].xyxy.tolist() == [[3, 2, 13, 8]]
    assert to_supervision(two()).class_id.tolist() == [0, 1]


def test_nothing_found():
    assert len(from_supervision(sv.Detections.empty())) == 0
    assert len(to_supervision(Detections((), np.zeros((0, 4), np.float32)))) == 0
    masks = np.zeros((0, 4, 5), bool)
    found = Detections((), np.zeros((0, 4), np.float32), masks, np.zeros(0))
    again = from_supervision(to_supervision(found))
    assert again.masks.shape == (0, 4, 5)
    assert again.scores.shape == (0,)


def test_names_of_class_numbers():
    boxes = np.array([[0, 0, 1, 1]])
    value = sv.Detections(boxes, class_id=np.array([1]))
    assert from_supervision(value, ["cat", "dog"]).labels == ("dog",)
    with pytest.raises(ValueError, match="Pass class_names"):
        from_supervision(value)
    with pytest.raises(ValueError, match=r"received the class 1 .*names of 0\."):
        from_supervision(value, ["cat"])
    assert from_supervision(sv.Detections(boxes)).labels == ("",)
    with pytest.raises(ValueError, match="received the label 'dog'"):
        to_supervision(two(), ["cat"])


def test_compact_masks():
    value = to_supervision(two())
    value.mask = sv.CompactMask.from_dense(value.mask, value.xyxy, (HEIGHT, WIDTH))
    assert_same(from_supervision(value), two())
