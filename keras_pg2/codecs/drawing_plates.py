"""Filled plates with a name and a score, put beside boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import ImageDraw, ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Plate:
    """A text on a filled rectangle.

    Attributes:
        text: one line.
        box: x1, y1, x2, y2 in pixels, right and lower border excluded.
        text_xy: where `ImageDraw.text` is to write.
    """

    text: str
    box: Box
    text_xy: tuple[float, float]


def plate_texts(
    labels: Sequence[str], scores: Sequence[float] | None
) -> tuple[str, ...]:
    """`cat 0.93` where there are scores, else `cat`; "" where there is neither."""
    names = [" ".join(label.split()) for label in labels]
    if scores is None:
        return tuple(names)
    return tuple(f"{name} {score:.2f}".strip() for name, score in zip(names, scores))


def place_plates(
    draw: ImageDraw.ImageDraw,
    texts: Sequence[str],
    boxes: Sequence[Sequence[float]],
    font: Font,
    size: tuple[int, int],
) -> list[Plate]:
    """Plates near their boxes, apart from each other where a place is easily found.

    Args:
        draw: of the picture.
        texts: N lines; "" gets no plate. One that is wider than the picture loses its
            middle.
        boxes: N times x1, y1, x2, y2 in pixels.
        font: for the texts.
        size: width and height of the picture in pixels, where all plates stay.
    """
    plates: list[Plate] = []
    for text, box in zip(texts, boxes):
        if text:
            plates.append(_place(draw, text, box, font, size, plates))
    return plates


def draw_plate(
    draw: ImageDraw.ImageDraw, plate: Plate, color: tuple[int, ...], font: Font
) -> None:
    """Fills the plate with the colour and writes in black or white on it."""
    x1, y1, x2, y2 = plate.box
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
    draw.text(plate.text_xy, plate.text, fill=ink_color(color), font=font)


def ink_color(color: tuple[int, ...]) -> tuple[int, int, int]:
    """Black or white, whichever has the higher contrast; that is 4.58 at least.

    Source: the relative luminance and contrast ratio of WCAG 2.1, section 1.4.3.
    """
    return (0, 0, 0) if _luminance(color) > 0.179 else (255, 255, 255)


def _luminance(color: tuple[int, ...]) -> float:
    linear = [
        level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4
        for level in (channel / 255 for channel in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _place(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: Sequence[float],
    font: Font,
    size: tuple[int, int],
    others: Sequence[Plate],
) -> Plate:
    # The height is that of a tall line, so that all plates of a picture are alike.
    _, top, _, bottom = draw.textbbox((0, 0), "Ágj", font=font)
    margin = max(2, round((bottom - top) / 6))
    text = _shortened(draw, text, font, size[0] - 2 * margin)
    left, own_top, right, own_bottom = draw.textbbox((0, 0), text, font=font)
    top, bottom = min(top, own_top), max(bottom, own_bottom)
    width = round(right - left) + 2 * margin
    height = round(bottom - top) + 2 * margin
    candidates = [
        _clamped(x, y, width, height, size)
        for x, y in _corners_near(box, width, height, size)
    ]
    # Of equals `min` takes the first, which is the usual place above the box.
    best = min(candidates, key=lambda box: sum(_overlap(box, p.box) for p in others))
    return Plate(text, best, (best[0] + margin - left, best[1] + margin - top))


def _corners_near(
    box: Sequence[float], width: int, height: int, size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Upper left corners of a plate near a box, the preferred first."""
    x1, y1, x2, y2 = (round(v) for v in box)
    right = x2 - width + 1
    if y1 >= height:
        yield x1, y1 - height
        yield right, y1 - height
    yield x1, y1
    yield right, y1
    if y2 + height < size[1]:
        yield x1, y2 + 1
        yield right, y2 + 1
    yield x1, y2 - height + 1
    yield right, y2 - height + 1
    for step in range(1, 6):
        yield x1, y1 + step * height
        yield x1, y1 - (step + 1) * height


def _clamped(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> Box:
    x = max(0, min(x, size[0] - width))
    y = max(0, min(y, size[1] - height))
    return x, y, x + width, y + height


def _overlap(a: Box, b: Box) -> int:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _shortened(
    draw: ImageDraw.ImageDraw, text: str, font: Font, max_width: float
) -> str:
    """The text, or its two ends, the last of which has the score."""
    kept = len(text) - 1
    shortened = text
    while kept >= 6 and draw.textlength(shortened, font=font) > max_width:
        tail = min(9, kept // 2)
        shortened = f"{text[: kept - tail].rstrip()}...{text[-tail:].lstrip()}"
        kept -= 1
    return shortened
