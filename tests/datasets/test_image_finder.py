"""Pictures by names that other systems write."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from keras_pg2.datasets.coco_pictures import picture_size
from keras_pg2.datasets.image_finder import ImageFinder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Sub").mkdir()
    accented = unicodedata.normalize("NFC", "café")
    for name in ("a.JPG", "Sub/b.png", f"{accented}.png", "c.png", "C.png"):
        Image.new("1", (1, 1)).save(tmp_path / name, "PNG")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.JPG", "a.JPG"),
        ("a.jpg", "a.JPG"),
        ("Sub\\b.png", "Sub/b.png"),
        ("sub\\B.PNG", "Sub/b.png"),
        (".\\Sub\\b.png", "Sub/b.png"),
        ("Sub/../a.jpg", "Sub/../a.JPG"),
        (unicodedata.normalize("NFD", "CAFÉ.png"), "café.png"),
        ("C.png", "C.png"),
        ("c.png", "c.png"),
    ],
)
def test_one_file_is_meant(folder: Path, name: str, found: str):
    assert ImageFinder(folder).find(name, "image") == str(folder / found)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("c.PNG", "c.png"),  # Two files have this name in other letters.
        ("C:\\pictures\\a.JPG", "a.JPG"),
        ("train/c.png", "c.png"),
        ("caffe.png", "café.png"),
    ],
)
def test_no_file_is_meant_for_sure(folder: Path, name: str, near: str):
    message = "does not exist.*Did you mean '.*/(?i:" + near.replace(".", r"\.") + ")'"
    with pytest.raises(FileNotFoundError, match=message):
        ImageFinder(folder).find(name, "image")


def test_nothing_is_near(folder: Path):
    with pytest.raises(FileNotFoundError) as error:
        ImageFinder(folder).find("0123456789", "image")
    assert "Did you mean" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="--image-folder"):
        ImageFinder(folder / "none")


def test_what_an_annotation_file_names_elsewhere_is_read_as_a_picture_alone(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "passwords"
    secret.write_text("hidden:x:0:0")
    (tmp_path / "pictures").mkdir()
    finder = ImageFinder(tmp_path / "pictures")
    path = finder.find(str(secret), "file_name")
    assert path == str(secret)
    with pytest.raises(ValueError, match="is not one or is damaged") as caught:
        picture_size(Path(path))
    assert str(secret) in str(caught.value)
    assert "hidden" not in str(caught.value)
