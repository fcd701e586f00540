"""Detections that the tests of the exchange share, and how to compare them."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

from keras_pg2.codecs import Detections
from keras_pg2.codecs.packages import import_supervision

sv = import_supervision()

WIDTH, HEIGHT = 24, 16
NAMES = ["cat", "dog", "a thing; or two"]
IDS = {"cat": 3, "dog": 1, "a thing; or two": 90}
BY_ID = {number: name for name, number in IDS.items()}

some_names = st.sampled_from(NAMES)
masks_of_one = hnp.arrays(bool, (HEIGHT, WIDTH))


@st.composite
def instances(draw, labels=some_names):
    count = draw(st.integers(0, 4))
    corners = draw(
        hnp.arrays(np.float32, (count, 2, 2), elements=st.floats(0, 1, width=32))
    )
    boxes = np.sort(corners, axis=1).reshape(count, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    scores = hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32))
    masks = hnp.arrays(bool, (count, HEIGHT, WIDTH))
    return Detections(
        tuple(draw(st.lists(labels, min_size=count, max_size=count))),
        boxes.astype(np.float32),
        draw(st.none() | masks),
        draw(st.none() | scores),
    )


def two() -> Detections:
    """A rectangle of a cat with a mask, and a dog without one."""
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 2:8, 3:13] = True
    boxes = np.array([[3, 2, 13, 8], [12, 4, 24, 16]], np.float32)
    return Detections(("cat", "dog"), boxes, masks, np.array([0.75, 0.5], np.float32))


def boxes_only(found: Detections) -> Detections:
    return Detections(found.labels, found.boxes_xyxy)


def filled(mask: np.ndarray) -> np.ndarray:
    """Without holes, by walking over the background from outside the picture."""
    ground = np.zeros((HEIGHT + 2, WIDTH + 2), bool)
    ground[0] = True
    free = np.pad(~mask, 1, constant_values=True)
    while True:
        grown = ground.copy()
        grown[1:] |= ground[:-1]
        grown[:-1] |= ground[1:]
        grown[:, 1:] |= ground[:, :-1]
        grown[:, :-1] |= ground[:, 1:]
        grown &= free
        if (grown == ground).all():
            return ~ground[1:-1, 1:-1]
        ground = grown


def assert_same(first: Detections, second: Detections, atol: float = 0) -> None:
    assert first.labels == second.labels
    np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, rtol=0, atol=atol)
    assert first.boxes_xyxy.dtype == second.boxes_xyxy.dtype == np.float32
    for a, b in [(first.masks, second.masks), (first.scores, second.scores)]:
        if a is None or b is None:
            assert a is b
        else:
            np.testing.assert_array_equal(a, b)
