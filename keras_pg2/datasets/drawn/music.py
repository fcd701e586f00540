"""Lines of music on one staff, drawn with Pillow, and their **kern.

A line has a clef, a time signature and two bars of notes and rests, each in a slot of
its own. Its text is a spine of **kern (D. Huron, The Humdrum Toolkit, 1995) without the
first and last record, which are always the same, and without beams and stems:

    *clefG2        treble; *clefF4 is bass
    *M2/4
    4c#            a quarter note, C sharp 4: cc is C5, C is C3; - flat, n natural
    4.r            a dotted quarter rest
    =              bar line

    examples = music.examples("train", 100, seed=0)
    examples[0].images, examples[0].truth.answers  # uint8[84, 168, 3], (kern,)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pg2.datasets.drawn.splitting import Split, draw_of_split
from keras_pg2.datasets.public.examples import Example, Examples
from keras_pg2.metrics.metric import Truth

PROMPT = "kern"
SIZE = 84

CLEFS = {"G2": 4 * 7 + 2, "F4": 2 * 7 + 4}
"""Diatonic number, 7 * octave + step from C, of the lowest line: E4 and G2."""
RHYTHMS = {
    "2/4": ("2", "4 4", "4. 8", "8 4.", "8 8 4", "4 8 8", "8 4 8"),
    "3/4": ("2.", "2 4", "4 2", "4 4 4", "4. 8 4", "4 4. 8"),
}
"""Durations of each bar, in the words of **kern."""
POSITIONS = range(-2, 11)
"""Lines and spaces, 0 for the lowest line; -2 and 10 have a ledger line."""
ACCIDENTALS = {"#": "sharp", "-": "flat", "n": "natural"}

_NUM_BARS = 2
_REST_SHARE = 0.15
_ACCIDENTAL_SHARE = 0.25
_BAR_LINE_SLOT = 0.7
_OVERSAMPLING = 3


@dataclass(frozen=True)
class Note:
    """A note or a rest.

    Attributes:
        duration: As **kern has it, "4" or "4.".
        position: One of `POSITIONS`; None for a rest.
        accidental: One of `ACCIDENTALS`, or "".
    """

    duration: str
    position: int | None = None
    accidental: str = ""


@dataclass(frozen=True)
class Line:
    """A line of music.

    Attributes:
        clef: One of `CLEFS`.
        metre: One of `RHYTHMS`.
        bars: Notes and rests of each bar.
    """

    clef: str
    metre: str
    bars: tuple[tuple[Note, ...], ...]


def sample_line(rng: np.random.Generator) -> Line:
    """Draw a line by lot."""
    metre = str(rng.choice(list(RHYTHMS)))
    rhythms = [str(rng.choice(RHYTHMS[metre])) for _ in range(_NUM_BARS)]
    bars = tuple(
        tuple(_sample_note(rng, duration) for duration in rhythm.split())
        for rhythm in rhythms
    )
    return Line(str(rng.choice(list(CLEFS))), metre, bars)


def _sample_note(rng: np.random.Generator, duration: str) -> Note:
    if rng.random() < _REST_SHARE:
        return Note(duration)
    is_altered = rng.random() < _ACCIDENTAL_SHARE
    accidental = str(rng.choice(list(ACCIDENTALS))) if is_altered else ""
    return Note(duration, int(rng.choice(POSITIONS)), accidental)


def kern(line: Line) -> str:
    """Return the records of a line, one in each line of text."""
    records = [f"*clef{line.clef}", f"*M{line.metre}"]
    for number, bar in enumerate(line.bars):
        records += ["="] if number else []
        records += [_kern_note(note, line.clef) for note in bar]
    return "\n".join(records)


def _kern_note(note: Note, clef: str) -> str:
    if note.position is None:
        return f"{note.duration}r"
    octave, step = divmod(CLEFS[clef] + note.position, 7)
    letter = "cdefgab"[step]
    # c is C4, cc is C5, C is C3, CC is C2.
    pitch = letter * (octave - 3) if octave >= 4 else letter.upper() * (4 - octave)
    return f"{note.duration}{pitch}{note.accidental}"


def render(line: Line, size: int = SIZE) -> np.ndarray:
    """Return the picture, uint8[size, 2 * size, 3]."""
    height = size * _OVERSAMPLING
    picture = Image.new("L", (2 * height, height), 255)
    pen = _Pen(picture)
    pen.draw_staff()
    pen.draw_clef(line.clef)
    pen.draw_metre(line.metre)
    # Notes are spread evenly, with less than a slot for a bar line.
    num_slots = sum(map(len, line.bars)) + _BAR_LINE_SLOT * (len(line.bars) - 1)
    left, right = 4.5, 17.3
    width = (right - left) / num_slots
    x = left
    for number, bar in enumerate(line.bars):
        if number:
            pen.draw_bar_line(x + 0.3 * width)
            x += _BAR_LINE_SLOT * width
        for note in bar:
            pen.draw_note(note, x + 0.56 * width)
            x += width
    return np.asarray(picture.reduce(_OVERSAMPLING).convert("RGB"))


class _Pen:
    """Draws on a staff; lengths are in spaces between its lines.

    x goes from 0 to 18, y upwards from the lowest line.
    """

    def __init__(self, picture: Image.Image) -> None:
        self._pen = ImageDraw.Draw(picture)
        self._space = picture.height / 9
        self._zero = picture.height / 2 + 2 * self._space

    def _points(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * self._space, self._zero - y * self._space) for x, y in points]

    def _stroke(self, points: list[tuple[float, float]], width: float) -> None:
        pixels = max(1, round(width * self._space))
        self._pen.line(self._points(points), 0, pixels, joint="curve")

    def _oval(
        self, x: float, y: float, width: float, height: float, hollow: float = 0
    ) -> None:
        corners = self._points([(x - width, y + height), (x + width, y - height)])
        box = [value for corner in corners for value in corner]
        self._pen.ellipse(
            box,
            fill=None if hollow else 0,
            outline=0,
            width=max(1, round(hollow * self._space)),
        )

    def draw_staff(self) -> None:
        for y in range(5):
            self._stroke([(0.2, y), (17.8, y)], 0.11)

    def draw_bar_line(self, x: float) -> None:
        self._stroke([(x, 0), (x, 4)], 0.25)

    def draw_clef(self, clef: str) -> None:
        if clef == "G2":
            self._stroke([(1.4, -1.2), (1.4, 4.6), (1.8, 5), (1.9, 4.2)], 0.25)
            self._oval(1.4, 1, 0.9, 1.0, hollow=0.28)
        else:
            box = self._points([(-0.5, 4.1), (1.9, 0.2)])
            self._pen.arc(
                [*box[0], *box[1]], -100, 70, 0, max(1, round(0.35 * self._space))
            )
            self._oval(0.7, 3, 0.4, 0.4)
            for y in (2.5, 3.5):
                self._oval(2.4, y, 0.25, 0.25)

    def draw_metre(self, metre: str) -> None:
        font = ImageFont.load_default(2.6 * self._space)
        for digit, y in zip(metre.split("/"), (3, 1), strict=True):
            [point] = self._points([(3.4, y)])
            self._pen.text(
                point, digit, 0, font, anchor="mm", stroke_width=0.06 * self._space
            )

    def draw_note(self, note: Note, x: float) -> None:
        if note.position is None:
            self._draw_rest(note.duration, x)
            return
        y = note.position / 2
        for ledger in (-1, 5):
            if y == ledger:
                self._stroke([(x - 1, y), (x + 1, y)], 0.11)
        is_half = note.duration[0] == "2"
        self._oval(x, y, 0.68, 0.5, hollow=0.2 if is_half else 0)
        up = 1 if note.position < 4 else -1
        stem, end = x + 0.6 * up, y + 3.2 * up
        self._stroke([(stem, y), (stem, end)], 0.2)
        if note.duration[0] == "8":
            self._stroke([(stem, end), (stem + 0.7, end - 1.5 * up)], 0.4)
        if note.duration.endswith("."):
            self._draw_dot(x, y + (0.5 if note.position % 2 == 0 else 0))
        if note.accidental:
            self._draw_accidental(note.accidental, x - 1.25, y)

    def _draw_dot(self, x: float, y: float) -> None:
        self._oval(x + 1.1, y, 0.24, 0.24)

    def _draw_rest(self, duration: str, x: float) -> None:
        if duration[0] == "2":
            self._stroke([(x - 0.7, 2.25), (x + 0.7, 2.25)], 0.5)
        elif duration[0] == "4":
            points = [(-0.3, 3.6), (0.35, 2.8), (-0.3, 2.1), (0.35, 1.2), (-0.2, 0.5)]
            self._stroke([(x + dx, y) for dx, y in points], 0.34)
        else:
            self._oval(x - 0.35, 2.6, 0.3, 0.3)
            self._stroke([(x - 0.4, 2.4), (x + 0.5, 2.9), (x - 0.1, 0.8)], 0.2)
        if duration.endswith("."):
            self._draw_dot(x, 2.5)

    def _draw_accidental(self, accidental: str, x: float, y: float) -> None:
        if accidental == "#":
            for dx in (-0.18, 0.18):
                self._stroke([(x + dx, y - 1.1), (x + dx, y + 1.1)], 0.14)
            for dy in (-0.35, 0.35):
                self._stroke([(x - 0.5, y + dy - 0.1), (x + 0.5, y + dy + 0.1)], 0.24)
        elif accidental == "-":
            self._stroke([(x - 0.3, y + 1.7), (x - 0.3, y - 0.5)], 0.16)
            self._oval(x, y, 0.38, 0.48, hollow=0.16)
        else:
            self._stroke([(x - 0.3, y + 1.4), (x - 0.3, y - 0.5)], 0.16)
            self._stroke([(x + 0.3, y + 0.5), (x + 0.3, y - 1.4)], 0.16)
            for dy in (-0.45, 0.45):
                self._stroke([(x - 0.3, y + dy), (x + 0.3, y + dy)], 0.22)


def examples(split: Split, count: int, seed: int = 0, size: int = SIZE) -> Examples:
    """Return `count` lines, no two the same; a line is in one split alone."""
    rng = np.random.default_rng([seed, 2])

    def draw() -> tuple[str, Line]:
        line = sample_line(rng)
        return kern(line), line

    return Examples(
        Example(
            id=index,
            images=render(line, size),
            fields={"prompt": PROMPT},
            truth=Truth(answers=(text,), kind=f"{line.clef} {line.metre}"),
        )
        for index, (text, line) in enumerate(draw_of_split(split, count, draw).items())
    )
