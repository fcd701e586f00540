"""What models really write, by hand, and what nobody would: the parser bears it all."""

from __future__ import annotations

import os
import random
import re

import numpy as np
import pytest

from keras_pg2.codecs import parse_detections
from keras_pg2.codecs.segment_tokens import codes_to_text

A, B, C = "<loc0100><loc0200><loc0300><loc0400>", "<loc0000>" * 4, "<loc1023>" * 4
M = "".join(f"<seg{i:03d}>" for i in range(16))
N = "<seg127>" * 16

# Answer; labels read; which of them have a mask; what could not be read.
CASES = [
    # As trained.
    ("", [], [], []),
    (f"{A} cat", ["cat"], [0], []),
    (f"{A} cat ; {B} dog", ["cat", "dog"], [0, 0], []),
    (f"{A} cat ; {B} cat ; {C} cat", ["cat"] * 3, [0, 0, 0], []),
    (f"{A}{M} cat", ["cat"], [1], []),
    (f"{A}{M} cat ; {B}{N} dog", ["cat", "dog"], [1, 1], []),
    (f"{A}{M} cat ; {B} dog", ["cat", "dog"], [1, 0], []),
    (f"{A}{M}", [""], [1], []),
    (f"{A}", [""], [0], []),
    (f"{A} big red cat ; {A} big red cat", ["big red cat"] * 2, [0, 0], []),
    # Spaces, or none.
    (f"{A}cat", ["cat"], [0], []),
    (f"{A}   cat   ;   {B}   dog  ", ["cat", "dog"], [0, 0], []),
    (f"{A}cat;{B}dog", ["cat", "dog"], [0, 0], []),
    (f"{A} cat;{B} dog", ["cat", "dog"], [0, 0], []),
    (f"{A} cat ;{B} dog", ["cat", "dog"], [0, 0], []),
    (f"{A} cat; {B} dog", ["cat", "dog"], [0, 0], []),
    (f"{A} {M} cat", ["cat"], [1], []),
    (f"{A}{M}cat", ["cat"], [1], []),
    (f"\n{A} cat\n", ["cat"], [0], []),
    (f"{A} cat\n{B} dog", ["cat", "dog"], [0, 0], []),
    (f"{A} cat {B} dog", ["cat", "dog"], [0, 0], []),
    ("<loc0100> <loc0200> <loc0300> <loc0400> cat", ["cat"], [0], []),
    (f"{A}{M.replace('><', '> <')} cat", ["cat"], [1], []),
    # Joints too many.
    (f"{A} cat ;", ["cat"], [0], []),
    (f"{A} cat ; ", ["cat"], [0], []),
    (f" ; {A} cat", ["cat"], [0], []),
    (f"{A} cat ; ; {B} dog", ["cat", "dog"], [0, 0], []),
    (" ; ; ", [], [], []),
    # Missing labels, boxes in a row.
    (f"{A} ; {B} dog", ["", "dog"], [0, 0], []),
    (f"{A}{B} dog", ["", "dog"], [0, 0], []),
    (f"{A}{B}{C}", ["", "", ""], [0, 0, 0], []),
    (f"{A}{B}{M} dog", ["", "dog"], [0, 1], []),
    (f"{A}{M}{B}{N} dog", ["", "dog"], [1, 1], []),
    # Labels of any kind.
    (f"{A} 猫 ; {B} собака", ["猫", "собака"], [0, 0], []),
    (f"{A} chien d'aveugle (noir)", ["chien d'aveugle (noir)"], [0], []),
    (f"{A} 🐱 ; {B} Ünïcode", ["🐱", "Ünïcode"], [0, 0], []),
    (f"{A} قطة ; {B} חתול", ["قطة", "חתול"], [0, 0], []),
    (f"{A} a;b ; {B} c", ["a;b", "c"], [0, 0], []),
    (f"{A} <3 hearts", ["<3 hearts"], [0], []),
    (f"{A} a < b > c", ["a < b > c"], [0], []),
    (f"{A} loc0100", ["loc0100"], [0], []),
    (f"{A} 3.5 % [x] {{y}} \\d", ["3.5 % [x] {y} \\d"], [0], []),
    (f"{A} cat<eos>", ["cat"], [0], []),
    (f"<bos>{A} cat<eos><pad><pad>", ["cat"], [0], []),
    # Cut off.
    (f"{A} cat ; <loc0000>", ["cat"], [0], ["<loc0000>"]),
    (f"{A} cat ; {B[:27]}", ["cat"], [0], [B[:27]]),
    (f"{A} cat ; {B[:27]}<loc", ["cat"], [0], [B[:27], "<loc"]),
    (f"{A} cat ; {B}{M[:40]}", ["cat", ""], [0, 0], [M[:40]]),
    (f"{A}{M[:-8]} cat", ["cat"], [0], [M[:-8]]),
    (f"{A}{M[:-3]}", [""], [0], [M[:-8], "<seg0"]),
    ("<loc0100><loc0200>", [], [], ["<loc0100><loc0200>"]),
    # Too many of something.
    (f"<loc0007>{A} cat", ["cat"], [0], ["<loc0007>"]),
    (f"{A}<loc0007> cat", ["cat"], [0], ["<loc0100>"]),
    (f"{A}{M}<seg000> cat", ["cat"], [0], [f"{M}<seg000>"]),
    (f"{A}{M}{N} cat", ["cat"], [0], [M + N]),
    # Numbers that are no tokens.
    (f"{A[:27]}<loc1024> cat", [], [], [f"{A[:27]}<loc1024>", "cat"]),
    (f"{A}{M[:-8]}<seg128> cat", ["cat"], [0], [f"{M[:-8]}<seg128>"]),
    ("<loc100><loc200><loc300><loc400> cat", [], [], None),
    ("<loc\u0660\u0661\u0660\u0660>" * 4 + " cat", [], [], None),  # Arabic digits.
    # Text around, or nothing else.
    ("a cat on a mat", [], [], ["a cat on a mat"]),
    (f"Here it is: {A} cat", ["cat"], [0], ["Here it is:"]),
    (f"{A} cat ; and a dog", ["cat"], [0], ["and a dog"]),
    (f"sorry ; {A} cat ; thanks", ["cat"], [0], ["sorry", "thanks"]),
    (M, [], [], [M]),
    (f"{M} cat ; {A} dog", ["dog"], [0], [f"{M} cat"]),
    ("no", [], [], ["no"]),
    ("\ufffd\x00\u202e", [], [], None),
]


def test_there_are_enough_cases():
    assert len(CASES) >= 60
    assert len({text for text, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize(("text", "labels", "has_mask", "unread"), CASES)
def test_what_models_write(text, labels, has_mask, unread):
    found = parse_detections(text, 64, 48)
    assert list(found.labels) == labels
    assert [int("<seg" in tokens) for tokens in found.tokens] == has_mask
    if unread is not None:
        assert list(found.unread) == unread


def test_long_runs_of_spaces_take_no_time():
    found = parse_detections(f"{A} a{' ' * 200_000}b ; {B} c", 64, 48)
    assert [label.split() for label in found.labels] == [["a", "b"], ["c"]]


def test_corners_out_of_order_are_the_box_between_them():
    for text in ("<loc0300><loc0400><loc0100><loc0200>", A):
        [box] = parse_detections(text, 1023, 1023).boxes_xyxy.tolist()
        assert box == [200, 100, 400, 300]


PIECES = [
    *("<loc0000>", "<loc1023>", "<loc0512>", "<loc1024>", "<loc9999>", "<loc12>"),
    *("<seg000>", "<seg127>", "<seg128>", "<seg1>", A, B, A + M, M, M[:-8], " ; "),
    *(";", " ", "\n", "<", ">", "<bos>", "<eos>", "cat", "猫", "é", "\x00", "\ud800"),
    *("<loc", "0100>", "<seg", "0>", "(", "[", "\\", "*", "loc0001", "\u2028"),
]


def test_fuzzed_answers_give_boxes_within_the_picture():
    """`KERAS_PG2_FUZZED_ANSWERS=1000000` takes a minute or two."""
    count = int(os.environ.get("KERAS_PG2_FUZZED_ANSWERS", "30000"))
    rng = random.Random(0)
    num_instances = 0
    for _ in range(count):
        text = "".join(rng.choices(PIECES, k=rng.randrange(14)))
        if rng.random() < 0.3:
            place = rng.randrange(len(text) + 1)
            text = text[:place] + chr(rng.randrange(0x3000)) + text[place + 1 :]
        width, height = rng.randrange(1, 2000), rng.randrange(1, 2000)
        found = parse_detections(text, width, height)
        boxes = found.boxes_xyxy
        assert len(found.tokens) == len(found.labels) == len(boxes)
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert all(label == label.strip() for label in found.labels)
        num_instances += len(found)
    assert num_instances > count / 4


# big_vision's demo (huggingface.co/spaces/big-vision/paligemma, paligemma_parse.py).
OFFICIAL = re.compile(
    r"(.*?)"
    + r"<loc(\d{4})>" * 4
    + r"\s*"
    + "(?:"
    + r"<seg(\d{3})>" * 16
    + ")?"
    + r"\s*([^;<>]+)? ?(?:; )?"
)


def official_reading(text: str) -> list[tuple]:
    """Bins, codes and label of each instance, as the demo's loop finds them."""
    found = []
    while text:
        match = OFFICIAL.match(text)
        if not match:
            break
        groups = match.groups()
        codes = [] if groups[5] is None else [int(code) for code in groups[5:21]]
        found.append(([int(v) for v in groups[1:5]], codes, (groups[21] or "").strip()))
        text = text[len(match.group(0)) :]
    return found


def test_well_formed_answers_are_read_as_the_official_expression_does():
    rng = np.random.default_rng(0)
    words = ["cat", "red car", "человек", "a b c", "x-ray", "3"]
    for _ in range(2000):
        parts, expected = [], []
        for _ in range(int(rng.integers(0, 6))):
            y, x = (np.sort(rng.integers(0, 1024, 2)) for _ in range(2))
            bins = [int(v) for v in (y[0], x[0], y[1], x[1])]
            codes = rng.integers(0, 128, (1, 16)) if rng.random() < 0.5 else None
            label = str(rng.choice(words))
            mask = "" if codes is None else codes_to_text(codes)[0]
            box = "".join(f"<loc{b:04d}>" for b in bins)
            parts.append(f"{box}{mask} {label}")
            expected.append((bins, [] if codes is None else codes[0].tolist(), label))
        text = " ; ".join(parts)
        assert official_reading(text) == expected
        found = parse_detections(text, 1023, 1023)
        assert found.unread == ()
        mine = [
            (
                [round(v) for v in box[[1, 0, 3, 2]].tolist()],
                [int(code) for code in re.findall(r"<seg(\d{3})>", tokens)],
                label,
            )
            for box, tokens, label in zip(found.boxes_xyxy, found.tokens, found.labels)
        ]
        assert mine == expected
