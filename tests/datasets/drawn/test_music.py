"""Drawn note lines: the text says what is drawn."""

from __future__ import annotations

import re
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


RECORD = re.compile(r"([248]\.?)(r|([a-g])\3*|([A-G])\4*)([-#n]?)")


def read_note(record: str) -> tuple[str, int | None, str]:
    """Return duration, steps above middle C (None for a rest) and accidental.

    By the rules of **kern: c is middle C, a letter more is an octave further from it,
    upper case is below.
    """
    match = RECORD.fullmatch(record)
    assert match, record
    duration, pitch, *_, accidental = match.groups()
    if pitch == "r":
        return duration, None, accidental
    octaves = len(pitch) - 1 if pitch.islower() else -len(pitch)
    return duration, 7 * octaves + "cdefgab".index(pitch[0].lower()), accidental


def test_text_says_what_is_drawn() -> None:
    # The lowest line is two steps above middle C, or ten below it.
    lowest = {"G2": 2, "F4": -10}
    for index in range(200):
        line = music.sample_line(np.random.default_rng(index))
        clef, metre, *records = music.kern(line).split("\n")
        assert (clef, metre) == (f"*clef{line.clef}", f"*M{line.metre}")
        assert records.count("=") == len(line.bars) - 1
        notes = [read_note(record) for record in records if record != "="]
        wanted = [
            (
                note.duration,
                None if note.position is None else lowest[line.clef] + note.position,
                note.accidental,
            )
            for bar in line.bars
            for note in bar
        ]
        assert notes == wanted


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
