"""Drawn note lines: the text says what is drawn."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from keras_pg2.datasets.drawn import music
from keras_pg2.datasets.drawn.music import Line, Note

LINE = Line(
    "G2",
    "2/4",
    (
        (Note("8", -2), Note("8"), Note("4", 5, "#")),
        (Note("4.", 10, "-"), Note("8", 0, "n")),
    ),
)


@pytest.fixture(scope="module")
def drawn():
    return music.examples("train", 30, seed=5)


def test_kern_of_a_line_by_hand() -> None:
    # Middle C is a ledger line below the treble staff, c; A5 one above it, aa.
    assert music.kern(LINE) == "*clefG2\n*M2/4\n8c\n8r\n4cc#\n=\n4.aa-\n8en"
    bass = Line("F4", "2/4", ((Note("2", -2),), (Note("2", 10),)))
    # The lowest line of the bass staff is G2, GG; middle C is one above it.
    assert music.kern(bass) == "*clefF4\n*M2/4\n2EE\n=\n2c"


def test_text_and_line_are_the_same_thing(drawn) -> None:
    for example in drawn:
        [text] = example.truth.answers
        assert music.kern(music.parse_kern(text)) == text


@pytest.mark.parametrize(
    "text",
    ["*clefC3\n*M2/4\n2c\n=\n2c", "*clefG2\n*M2/4\n2x", "*clefG2\n*M5/4\n4c", "a\nb"],
)
def test_other_texts_are_refused(text) -> None:
    with pytest.raises(ValueError, match="Expected a"):
        music.parse_kern(text)


def test_every_rhythm_fills_its_bar() -> None:
    for metre, rhythms in music.RHYTHMS.items():
        for rhythm in rhythms:
            lengths = [
                Fraction(1, int(d[0])) * (Fraction(3, 2) if d.endswith(".") else 1)
                for d in rhythm.split()
            ]
            assert sum(lengths) == Fraction(metre)


def test_every_note_has_a_picture_of_its_own() -> None:
    """One thing that is changed changes the picture at the model's size."""
    notes = [Note("4", position) for position in music.POSITIONS]
    notes += [Note(duration, 3) for duration in ("2", "8", "4.")]
    notes += [Note("4", 3, accidental) for accidental in music.ACCIDENTALS]
    notes += [Note(duration) for duration in ("2", "4", "8", "4.")]
    lines = [Line("G2", "2/4", ((note,), (Note("2", 4),))) for note in notes]
    lines += [Line("F4", "2/4", lines[0].bars), Line("G2", "3/4", lines[0].bars)]
    pictures = [music.render(line)[:, ::2].astype(int) for line in lines]
    for i, first in enumerate(pictures):
        assert first.min() == 0
        assert first.shape == (84, 84, 3)
        for second in pictures[:i]:
            assert abs(first - second).max(2).sum() > 300


def test_nothing_is_drawn_over_the_edge() -> None:
    """What is highest, lowest and last leaves the border white."""
    high, low = Note("8", 10, "#"), Note("8", -2, "n")
    line = Line("F4", "2/4", ((high, low, high), (low, high, low)))
    picture = music.render(line, 168)
    edges = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    assert all((edge == 255).all() for edge in edges)


def test_splits_have_nothing_in_common(drawn) -> None:
    others = music.examples("test", 8, seed=6)
    texts = {example.truth.answers for example in drawn}
    assert len(texts) == len(drawn)
    assert not texts & {example.truth.answers for example in others}


def test_the_same_seed_draws_the_same_pictures(drawn) -> None:
    again = music.examples("train", 5, seed=5)
    for example, other in zip(drawn[:5], again, strict=True):
        assert example.truth == other.truth
        np.testing.assert_array_equal(example.images, other.images)
