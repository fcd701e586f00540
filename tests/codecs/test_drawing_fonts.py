"""Names on drawn boxes in letters that are not in Pillow's own font."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image, ImageFont

from keras_pg2.codecs import Detections, draw_detections
from keras_pg2.codecs import drawing_fonts as fonts


def drawn(label: str, font: fonts.FontChoice = None) -> np.ndarray:
    found = Detections((label,), np.array([[10, 60, 190, 190]], np.float32))
    return np.asarray(draw_detections(Image.new("RGB", (200, 200)), found, font))


def test_letters_that_a_font_does_not_have():
    own = ImageFont.load_default(size=20)
    assert fonts.missing_characters(own, ["cat \t\n ~"]) == ""
    assert fonts.missing_characters(own, ["猫", "a 狗 猫 é"]) == "é狗猫"
    bitmap = ImageFont.load_default_imagefont()
    assert fonts.missing_characters(bitmap, ["cat", "猫"]) == "猫"


def test_another_font_is_taken_where_it_has_them():
    """Matplotlib's, which this environment has; squares would all be alike."""
    assert fonts.find_fonts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (drawn("кот") != drawn("ток")).any()
        assert (drawn("é") != drawn("ß")).any()


def test_what_no_font_has_is_told(monkeypatch):
    monkeypatch.setattr(fonts, "find_fonts", lambda: ())
    with pytest.warns(UserWarning, match=r"with the characters 狗猫 .*Pass font="):
        drawn("猫 狗")
    with pytest.warns(UserWarning, match="ко"):
        drawn("око", ImageFont.load_default(size=12))


def test_a_font_of_ones_own(tmp_path):
    path = fonts.find_fonts()[-1]
    size = round(200 / 28)
    expected = drawn("cat", ImageFont.truetype(path, max(12, size)))
    assert (drawn("cat", path) == expected).all()
    assert (drawn("cat") != expected).any()
    with pytest.raises(OSError, match=r"path of a font file.*none\.ttf"):
        drawn("cat", tmp_path / "none.ttf")
