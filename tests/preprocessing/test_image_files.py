from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_pg2.preprocessing.image_files import read_image

NOISE = np.random.default_rng(0).integers(0, 256, (99, 99, 3)).astype(np.uint8)


def write(path, content: bytes):
    path.write_bytes(content)
    return path


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png' does not exist"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match=r"'/dev/zero' is a device"):
        read_image("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png' is a pipe"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="Download the picture first"):
        read_image("https://example.com/a.png")
    with pytest.raises(ValueError, match=r"notes\.png' \(5 bytes\).*as PNG or JPEG"):
        read_image(write(tmp_path / "notes.png", b"hello"))
    with pytest.raises(ValueError, match=r"empty\.jpg' \(0 bytes\)"):
        read_image(write(tmp_path / "empty.jpg", b""))
    Image.fromarray(NOISE).save(tmp_path / "whole.png")
    half = (tmp_path / "whole.png").read_bytes()[:9000]
    with pytest.raises(ValueError, match=r"half\.png.*damaged"):
        read_image(write(tmp_path / "half.png", half))


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    Image.fromarray(NOISE).save(path)

    def forbid(*_, **__):
        raise PermissionError(13, "Permission denied")

    message = r"permission is denied for .*secret\.png"
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        with pytest.raises(PermissionError, match=message):
            read_image(path)
    with monkeypatch.context() as patch:  # Where os.access does not know.
        patch.setattr("PIL.Image.open", forbid)
        with pytest.raises(PermissionError, match=message):
            read_image(path)
    with monkeypatch.context() as patch:  # In a folder that may not be searched.
        patch.setattr("os.path.isdir", lambda _: False)
        patch.setattr("os.path.isfile", lambda _: False)
        patch.setattr("os.stat", forbid)
        with pytest.raises(PermissionError, match=message):
            read_image(str(path))


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b.png"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_image(name)


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    for path in ("~/a.png", b"~/a.png", Path("~/a.png")):
        np.testing.assert_array_equal(read_image(path), NOISE)
