"""Files of features that are read again."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_features import ImageFeatures


def header(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue() + b"1234"


@pytest.mark.parametrize(
    "content",
    [
        header((2**40, 8), "<f4"),
        header((4, 8), "<f4"),
        header((1,), "<f4"),
        header((), "|O"),
        b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((((",
        b"no array",
    ],
    ids=lambda content: repr(content)[-20:],
)
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(picture)
    features = ImageFeatures(tmp_path / "features", "tower", (4, 8), "float32")
    value = np.arange(32, dtype=np.float32).reshape(1, 4, 8)
    features.write([picture], value)
    np.testing.assert_array_equal(features.read([picture]), value)
    file = features.file_of(picture)
    file.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"float32\[4, 8\].*{file.name}.*Remove"):
        features.read([picture])
    assert time.monotonic() - start < 5
