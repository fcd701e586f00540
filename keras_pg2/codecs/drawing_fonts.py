"""Fonts for the names on drawn boxes: one that has their characters, if there is one.

Pillow's own font, which comes with it, has those of ASCII only.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont

from keras_pg2.codecs.drawing_plates import Font

FontChoice: TypeAlias = "Font | str | os.PathLike[str] | None"
"""A font of Pillow's, or the path of a font file; None chooses one."""
FILES = (
    # Linux.
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc",
    # macOS.
    "Arial Unicode.ttf",
    "PingFang.ttc",
    # Windows.
    "arial.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
"""Names of files that systems have, the preferred first; Pillow knows their folders."""
NO_CHARACTER = "\U0010ffff"
"""What no font has, so that it is drawn as what a font lacks."""


def choose_font(choice: FontChoice, texts: Sequence[str], size: int) -> Font:
    """Return a font for texts, and warn of the characters that it does not have.

    Args:
        choice: None takes Pillow's own, and where that lacks a character the first of
            this machine's that has all of them.
        texts: what is to be written.
        size: font size in pixels, for a font that is loaded here.

    Raises:
        OSError: if the file of a font cannot be read.
    """
    if choice is None:
        fonts = [ImageFont.load_default(size=size)]
        if missing_characters(fonts[0], texts):
            fonts += [ImageFont.truetype(path, size) for path in find_fonts()]
    elif isinstance(choice, str | os.PathLike):
        fonts = [_load(choice, size)]
    else:
        fonts = [choice]
    best = min(fonts, key=lambda font: len(missing_characters(font, texts)))
    missing = missing_characters(best, texts)
    if missing:
        warnings.warn(
            f"Expected a font with the characters {missing} of the labels, found none. "
            "Squares are drawn for them. Pass font= (--font on the command line), the "
            "path of a .ttf or .otf file that has them.",
            stacklevel=3,
        )
    return best


def missing_characters(font: Font, texts: Sequence[str]) -> str:
    """The characters of texts that a font draws as it draws what it does not have."""
    wanted = sorted(c for c in set("".join(texts)) if c.isprintable() and c != " ")
    if not isinstance(font, ImageFont.FreeTypeFont):
        # Of Pillow without FreeType.
        return "".join(c for c in wanted if not c.isascii())
    nothing = _shape(font, NO_CHARACTER)
    return "".join(c for c in wanted if not c.isascii() and _shape(font, c) == nothing)


@cache
def find_fonts() -> tuple[str, ...]:
    """Paths of those of `FILES` that this machine has, matplotlib's own among them."""
    found = []
    for name in FILES:
        try:
            found.append(str(ImageFont.truetype(name, 12).path))
        except OSError:
            continue
    package = find_spec("matplotlib")
    if package is not None and package.origin is not None:
        own = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / FILES[0]
        found += [str(own)] * own.is_file()
    return tuple(found)


def _load(path: str | os.PathLike[str], size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(os.path.expanduser(path), size)
    except OSError as error:
        raise OSError(
            f"Expected the path of a font file (.ttf, .otf), received {str(path)!r} "
            f"({error})."
        ) from error


def _shape(font: ImageFont.FreeTypeFont, character: str) -> tuple[object, ...]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
