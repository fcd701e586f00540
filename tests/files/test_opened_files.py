"""A file that is replaced or changed while it is read."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from keras_pg2.files import opened_files
from keras_pg2.files.opened_files import OpenedFile


@pytest.fixture(params=["kept", "opened again"])
def is_kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Files that stay open, and those beyond the most that do."""
    if request.param == "opened again":
        monkeypatch.setattr(opened_files, "_MAX_KEPT", 0)
        monkeypatch.delattr(os, "preadv")
    return request.param == "kept"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(100)))
    return path


def count_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_bytes_are_read_at_their_offset(is_kept: bool, path: Path) -> None:
    file = OpenedFile(path)
    assert file.size == 100
    assert file.read(10, 3) == bytes([10, 11, 12])
    assert file.read(97, 3) == bytes([97, 98, 99])
    assert file.read(50, 0) == b""
    with pytest.raises(OSError, match=f"Expected 4 bytes at 97 of {path}"):
        file.read(97, 4)


def test_a_replaced_file_is_read_on_or_told(
    is_kept: bool, path: Path, tmp_path: Path
) -> None:
    file = OpenedFile(path)
    other = tmp_path / "other"
    other.write_bytes(bytes(100))
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)
    if is_kept:
        assert file.read(10, 3) == bytes([10, 11, 12])
    else:
        with pytest.raises(OSError, match="changed or replaced"):
            file.read(10, 3)
    with pytest.raises(OSError, match=f"Expected {path} as it was"):
        file.check_in_place()


@pytest.mark.parametrize("change", ["other bytes", "shorter", "longer"])
def test_a_changed_file_is_told(change: str, is_kept: bool, path: Path) -> None:
    file = OpenedFile(path)
    file.check_in_place()
    before = path.stat().st_mtime_ns
    with path.open("r+b") as writing:
        if change == "other bytes":
            writing.write(b"x")
        else:
            writing.truncate(50 if change == "shorter" else 150)
    os.utime(path, ns=(before, before + (change == "other bytes")))
    with pytest.raises(OSError, match="changed or replaced"):
        file.read(10, 3)
    with pytest.raises(OSError, match="changed or replaced"):
        file.check_in_place()


def test_files_are_closed_with_what_refers_to_them(is_kept: bool, path: Path) -> None:
    gc.collect()
    before = count_open()
    files = [OpenedFile(path) for _ in range(8)]
    assert count_open() == before + 8 * is_kept
    del files
    gc.collect()
    assert count_open() == before


def test_few_files_stay_open(path: Path) -> None:
    gc.collect()
    before = count_open()
    files = [OpenedFile(path) for _ in range(100)]
    assert count_open() <= before + 64
    assert {file.read(10, 1) for file in files} == {b"\n"}
