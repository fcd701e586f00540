"""Which files of a folder are pictures."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_folders import decoded_endings, list_pictures
from keras_pg2.preprocessing.images import load_rgb

PICTURE = Image.fromarray(np.zeros((4, 5, 3), np.uint8))


@pytest.fixture(autouse=True)
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("b.jpg", "inner/a.PNG", "inner/c.webp"):
        PICTURE.save(tmp_path / name)
    for name in ("notes.txt", "boxes.json", "README", ".DS_Store"):
        (tmp_path / name).write_text("none")
    return tmp_path


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_pictures_and_other_files(folder, recwarn):
    assert names(list_pictures(folder), folder) == [
        "b.jpg",
        "inner/a.PNG",
        "inner/c.webp",
    ]
    assert not recwarn


def test_what_is_left_out_is_counted_and_named_once(folder):
    mac = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
    for name in ("._b.jpg", "inner/._a.PNG", "._notes.txt"):
        (folder / name).write_bytes(mac)
    PICTURE.save(folder / "printed.pdf")
    for name in ("a.h5", "b.HDF", "film.mpg", "film.mp4", "c.eps", "d.svg", "e.heic"):
        (folder / name).write_bytes(b"none")
    (folder / "named.jpg").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list_pictures(folder)
    assert names(found, folder) == ["b.jpg", "inner/a.PNG", "inner/c.webp"]
    [message] = [str(warning.message) for warning in caught]
    assert "left out 10 files" in message
    for count in ("2 ._*", "1 .pdf", "1 .h5", "1 .hdf", "1 .mpg", "1 .eps", "1 .heic"):
        assert count in message
    assert "pip install pillow-heif" in message
    for path in found:
        load_rgb(path)


def test_only_what_cannot_be_read(tmp_path):
    for name in ("IMG_1.HEIC", "IMG_2.heic", "._a.jpg"):
        (tmp_path / name).write_bytes(b"none")
    with pytest.raises(ValueError, match=r"found no file.*2 \.heic.*pillow-heif"):
        list_pictures(tmp_path)


def test_damaged_pictures_are_listed(folder):
    """They are told of when they are read, each by its name."""
    (folder / "broken.jpg").write_bytes(b"none")
    assert len(list_pictures(folder)) == 4


def test_heic_where_its_package_is_installed(folder, monkeypatch):
    def register() -> None:
        Image.register_open("HEIF", lambda *_: None, lambda head: False)
        Image.register_extension("HEIF", ".heic")

    stand_in = types.SimpleNamespace(register_heif_opener=register)
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    Image.init()
    for table in ("OPEN", "EXTENSION"):
        monkeypatch.setattr(Image, table, dict(getattr(Image, table)))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (folder / "IMG.HEIC").write_bytes(b"none")
    assert len(list_pictures(folder)) == 4


@pytest.mark.parametrize(
    "ending",
    [".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".jp2", ".mpo"],
)
def test_endings_that_are_read(tmp_path, ending):
    assert ending in decoded_endings()
    kind = {".mpo": "MPO"}.get(ending)
    PICTURE.save(tmp_path / f"a{ending}", kind)
    [path] = list_pictures(tmp_path)
    assert load_rgb(path).shape == (4, 5, 3)


@pytest.mark.parametrize("ending", [".pdf", ".h5", ".mpeg", ".wmf", ".grib", ".palm"])
def test_endings_that_pillow_only_knows(ending):
    assert ending not in decoded_endings()


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_pictures(tmp_path / "nowhere")
    PICTURE.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="Pass it in a list"):
        list_pictures(tmp_path / "a.png")
