from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_pg2.codecs import Detections
from keras_pg2.metrics import read_referring_answers, referring_scores

SEG = "".join(f"<seg{i:03d}>" for i in range(16))


def full(codes):
    """A decoder whose masks fill their boxes."""
    assert codes.dtype == np.int32
    assert codes.shape[1:] == (16,)
    return np.ones((len(codes), 64, 64), np.float32)


def left_half(codes):
    crops = -np.ones((len(codes), 64, 64), np.float32)
    crops[:, :, :32] = 1
    return crops


def loc(*bins):
    return "".join(f"<loc{b:04d}>" for b in bins)


def read(text, width=1023, height=1023, decode=full):
    [found] = read_referring_answers([text], [(width, height)], decode)
    return found


def truth(x1, y1, x2, y2, width=100, height=100):
    mask = np.zeros((1, height, width), bool)
    mask[0, y1:y2, x1:x2] = True
    return Detections(("",), np.array([[x1, y1, x2, y2]], np.float32), mask)


def test_a_valid_answer_fills_its_box():
    found = read(loc(10, 20, 30, 60) + SEG, decode=left_half)
    assert found.boxes_xyxy.tolist() == [[20, 10, 60, 30]]
    expected = np.zeros((1, 1023, 1023), bool)
    # The left half of the columns 20..59.
    expected[0, 10:30, 20:40] = True
    np.testing.assert_array_equal(found.masks, expected)


def test_corners_of_the_mask_are_cut_not_rounded():
    # y: 512/1023 * 50 = 25.02, 1022/1023 * 50 = 49.95; x: 0, 100/1023 * 30 = 2.93.
    found = read(loc(512, 0, 1022, 100) + SEG, width=30, height=50)
    expected = np.zeros((1, 50, 30), bool)
    expected[0, 25:49, 0:2] = True
    np.testing.assert_array_equal(found.masks, expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        loc(1, 2, 3, 4),
        loc(1, 2, 3, 4) + SEG[:-8],
        loc(2, 3, 4) + SEG,
        loc(0, 1, 2, 3, 4) + SEG,
        " " + loc(1, 2, 3, 4) + SEG,
        loc(1, 2, 3, 4) + " " + SEG,
        SEG + loc(1, 2, 3, 4),
        loc(1, 2, 3, 1024) + SEG,
        loc(1, 2, 3, 4) + SEG.replace("<seg007>", "<seg128>"),
        # y2 = y1, y2 < y1, x2 = x1, x2 < x1.
        loc(3, 2, 3, 4) + SEG,
        loc(5, 2, 3, 4) + SEG,
        loc(1, 4, 3, 4) + SEG,
        loc(1, 5, 3, 4) + SEG,
    ],
)
def test_invalid_answers(text):
    assert read(text) is None


def test_what_follows_twenty_tokens_is_ignored():
    for rest in ("<seg000>", " dog", " ; " + loc(1, 2, 3, 4), "<eos>"):
        assert read(loc(1, 2, 3, 4) + SEG + rest) is not None


def test_a_box_without_a_whole_pixel_has_no_mask_but_counts_as_a_box():
    # x from 500 to 502 of 1023 in 10 pixels: 4.89 to 4.91, column 4 to column 4.
    found = read(loc(0, 500, 1023, 502) + SEG, width=10, height=10)
    assert found.masks is None
    expected = Detections(
        ("",), found.boxes_xyxy, np.ones((1, 10, 10), bool)
    )  # The very box.
    scores = referring_scores([found], [expected])
    assert (scores.mean_iou, scores.num_invalid) == (0, 1)
    assert scores.box_accuracy_75 == 1


def test_scores_by_hand():
    predictions = [
        truth(0, 0, 10, 10),  # The same 100 pixels.
        truth(0, 0, 10, 5),  # 50 of 100 pixels.
        truth(5, 0, 15, 10),  # 50 shared, 150 united.
        None,  # 0 shared, 100 united.
    ]
    scores = referring_scores(predictions, [truth(0, 0, 10, 10)] * 4)
    # (1 + 1/2 + 1/3 + 0) / 4 and (100 + 50 + 50 + 0) / (100 + 100 + 150 + 100).
    assert scores.mean_iou == pytest.approx(11 / 24)
    assert scores.overall_iou == pytest.approx(200 / 450)
    # IoU 1 and exactly 1/2 pass 0.5, only the first 0.75.
    assert scores.box_accuracy_50 == 0.5
    assert scores.box_accuracy_75 == 0.25
    assert scores.num_invalid == 1
    assert scores.num_expressions == 4


def test_an_empty_mask_is_no_invalid_answer():
    nothing = read(loc(0, 0, 1023, 1023) + SEG, 100, 100, lambda codes: -full(codes))
    scores = referring_scores([nothing], [truth(0, 0, 100, 100)])
    assert (scores.mean_iou, scores.num_invalid, scores.box_accuracy_75) == (0, 0, 1)


def official(tokens, crop, mask, box_yxyx):
    """The loop of the official evaluator for one answer: box IoU, mask IoU, invalid.

    Written from its description: integer corners, mask resized to them, above zero.
    """
    height, width = mask.shape
    y1, x1, y2, x2 = (t / 1023 for t in tokens)
    gy1, gx1, gy2, gx2 = box_yxyx
    inter = max(min(x2, gx2) - max(x1, gx1), 0) * max(min(y2, gy2) - max(y1, gy1), 0)
    area = (y2 - y1) * (x2 - x1) + (gy2 - gy1) * (gx2 - gx1)
    box = inter / (area - inter)
    y1, x1, y2, x2 = (
        int(y1 * height),
        int(x1 * width),
        int(y2 * height),
        int(x2 * width),
    )
    if y1 >= y2 or x1 >= x2:
        return box, 0.0, 1
    shared = sum(bool(mask[y, x]) for y in range(y1, y2) for x in range(x1, x2) if crop)
    drawn = (y2 - y1) * (x2 - x1) if crop else 0
    return box, shared / (int(mask.sum()) + drawn - shared), 0


@given(
    st.lists(st.integers(0, 1023), min_size=2, max_size=2, unique=True).map(sorted),
    st.lists(st.integers(0, 1023), min_size=2, max_size=2, unique=True).map(sorted),
    st.integers(8, 40),
    st.integers(8, 40),
)
def test_any_box_scores_as_the_official_loop_says(ys, xs, width, height):
    bins = [ys[0], xs[0], ys[1], xs[1]]
    there = truth(2, 1, 7, 6, width, height)
    box_yxyx = [1 / height, 2 / width, 6 / height, 7 / width]
    box, iou, invalid = official(bins, True, there.masks[0], box_yxyx)
    scores = referring_scores([read(loc(*bins) + SEG, width, height)], [there])
    assert scores.mean_iou == pytest.approx(iou)
    assert scores.num_invalid == invalid
    for threshold, accuracy in ((0.5, scores[2]), (0.75, scores[3])):
        if abs(box - threshold) > 1e-5:
            assert accuracy == (box >= threshold)


def test_more_answers_than_one_batch_keep_their_order():
    # Codes tell the decoder which answer is which; every third answer is invalid.
    texts, sizes = [], []
    for i in range(100):
        codes = f"<seg{i:03d}>" * 16
        texts.append("?" if i % 3 == 0 else loc(0, 0, 1023, 1023) + codes)
        sizes.append((4, 4 + i))

    def decode(codes):
        crops = np.where(codes[:, :1] % 2, 1.0, -1.0)[:, :, None]
        return np.broadcast_to(crops, (len(codes), 64, 64))

    found = list(read_referring_answers(texts, sizes, decode))
    for i, item in enumerate(found):
        if i % 3 == 0:
            assert item is None
        else:
            assert item.masks.shape == (1, 4 + i, 4)
            assert item.masks.all() == (i % 2 == 1)


def test_bad_calls():
    one = truth(0, 0, 10, 10)
    with pytest.raises(ValueError, match="more truths than 1"):
        referring_scores([one], [one, one])
    with pytest.raises(ValueError, match="more predictions than 1"):
        referring_scores([one, one], [one])
    with pytest.raises(ValueError, match="at least one expression"):
        referring_scores([], [])
    with pytest.raises(ValueError, match="truth 0, received 1, or an empty mask"):
        referring_scores([one], [truth(0, 0, 0, 0)])
    with pytest.raises(ValueError, match="truth 0, received 1 without masks"):
        referring_scores([one], [Detections(("",), one.boxes_xyxy)])
    with pytest.raises(ValueError, match="prediction 0, received 0"):
        referring_scores([one.take([])], [one])
    with pytest.raises(ValueError, match=r"\(100, 100\) of the truth.*\(100, 90\)"):
        referring_scores([truth(0, 0, 9, 9, width=90)], [one])
    with pytest.raises(ValueError, match="more texts"):
        list(read_referring_answers(["", ""], [(4, 4)], full))
    with pytest.raises(ValueError, match="more sizes"):
        list(read_referring_answers([""], [(4, 4), (4, 4)], full))
