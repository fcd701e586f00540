from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.codecs import boxes_yxyx_to_text, parse_detections

BOX = "<loc0000><loc0512><loc1023><loc1023>"
SEG = "".join(f"<seg{i:03d}>" for i in range(16))


def test_one_detection_in_pixels_of_the_picture():
    found = parse_detections(f"{BOX} cat", width=1023, height=100)
    assert found.labels == ("cat",)
    assert found.boxes_xyxy.dtype == np.float32
    np.testing.assert_allclose(found.boxes_xyxy, [[512, 0, 1023, 100]])
    assert found.unread == ()
    assert len(found) == 1


@pytest.mark.parametrize(
    ("text", "labels", "unread"),
    [
        ("", (), ()),
        ("no", (), ("no",)),
        (f"{BOX} cat ; {BOX} big dog", ("cat", "big dog"), ()),
        (f"{BOX} cat;{BOX} dog ;", ("cat", "dog"), ()),
        (f"{BOX} cat ; {BOX} cat", ("cat", "cat"), ()),
        (f"{BOX}", ("",), ()),
        (f"{BOX} ; {BOX} dog", ("", "dog"), ()),
        (f"{BOX}{BOX} dog", ("", "dog"), ()),
        (f"{BOX}{SEG} cat ; {BOX} {SEG} dog", ("cat", "dog"), ()),
        (f"{BOX}{SEG[:24]} cat", ("cat",), (SEG[:24],)),
        (f"{BOX} cat ; {BOX[:27]}", ("cat",), ("<loc0000><loc0512><loc1023>",)),
        (f"{BOX} cat ; {BOX[:18]} d", ("cat",), ("<loc0000><loc0512>", "d")),
        (f"<loc0007>{BOX} cat", ("cat",), ("<loc0007>",)),
        (f"{BOX[:27]}<loc1024> cat", (), (f"{BOX[:27]}<loc1024>", "cat")),
        (f"I see {BOX} a cat ; and more", ("a cat",), ("I see", "and more")),
        (f'{BOX} <b>Ünï; 日本 "x" [1]\n</b>', ("<b>Ünï",), ('日本 "x" [1]\n</b>',)),
        (f"{BOX} a;b", ("a;b",), ()),
        (f"<bos>{BOX} cat<eos><pad>", ("cat",), ()),
        (f"{SEG} cat", (), (f"{SEG} cat",)),
    ],
)
def test_what_models_write(text, labels, unread):
    found = parse_detections(text, width=10, height=10)
    assert found.labels == labels
    assert found.unread == unread
    assert found.boxes_xyxy.shape == (len(labels), 4)


def test_corners_in_the_wrong_order_are_sorted():
    found = parse_detections("<loc1023><loc0512><loc0000><loc0256>", 1023, 1023)
    assert found.boxes_xyxy.tolist() == [[256, 0, 512, 1023]]


@given(st.lists(st.sampled_from([*"ab ;\n<", "<loc0001>", "<loc9999>", "<seg001>"])))
def test_never_raises_and_stays_consistent(pieces):
    found = parse_detections("".join(pieces), width=7, height=5)
    assert found.boxes_xyxy.shape == (len(found.labels), 4)
    assert all(isinstance(label, str) for label in found.labels)


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1), min_size=4, max_size=4),
            st.text(st.characters(categories=["L", "N"]), min_size=1),
        )
    )
)
def test_encoded_boxes_come_back(things):
    boxes = np.array([box for box, _ in things]).reshape(-1, 2, 2)
    boxes = np.sort(boxes, axis=1).reshape(-1, 4)
    pairs = zip(boxes_yxyx_to_text(boxes), (label for _, label in things))
    text = " ; ".join(f"{tokens} {label}" for tokens, label in pairs)
    found = parse_detections(text, width=100, height=200)
    assert found.labels == tuple(label for _, label in things)
    half_bin = 0.5 / 1023 + 1e-6
    expected = boxes[:, [1, 0, 3, 2]] * [100, 200, 100, 200]
    error = np.abs(found.boxes_xyxy - expected)
    assert (error <= half_bin * np.array([100, 200, 100, 200])).all()


def test_wrong_calls():
    with pytest.raises(TypeError, match="received list"):
        parse_detections([BOX], 10, 10)
    with pytest.raises(ValueError, match="height=0"):
        parse_detections("", 10, 0)
