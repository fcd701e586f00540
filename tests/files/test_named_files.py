"""Which files a name that stands in another file, or a link, may lead to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keras_pg2.files.named_files import file_inside, indexed_files

OUTSIDE = {
    "parent": "../secret",
    "parent inside": "part/../../secret",
    "parent that comes back": "../model/weights",
    "absolute": "/etc/passwd",
    "backslash": "..\\secret",
    "backslash inside": "part\\weights",
    "drive": "C:\\secret",
    "drive without a folder": "C:secret",
    "share": "\\\\server\\secret",
    "stream of Windows": "weights:hidden:$DATA",
    "nothing": "",
    "the directory": ".",
    "the parent": "..",
    "zero": "weights\0.h5",
    "address": "https://example.org/../../x",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "part").mkdir(parents=True)
    (model / "weights").write_bytes(b"inside")
    (model / "part" / "weights").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    return model


def write_index(directory: Path, *names: object) -> Path:
    index = directory / "index.json"
    weight_map = {str(i): name for i, name in enumerate(names)}
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


@pytest.mark.parametrize("kind", OUTSIDE)
def test_names_that_lead_out_are_refused(kind: str, directory: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError)):
        indexed_files(write_index(directory, "weights", OUTSIDE[kind]))
    with pytest.raises(ValueError, match="Expected the name of a file"):
        file_inside(directory, OUTSIDE[kind])


@pytest.mark.parametrize(
    "name", ["weights", "./weights", "part/weights", "part//weights"]
)
def test_names_inside_are_taken(name: str, directory: Path) -> None:
    (found,) = indexed_files(write_index(directory, name, name))
    assert found.read_bytes() == b"inside"


def test_lists_of_names_are_those_of_keras(directory: Path) -> None:
    index = write_index(directory, ["weights", "part/weights"], "weights")
    assert sorted(indexed_files(index)) == [
        directory / "part" / "weights",
        directory / "weights",
    ]


@pytest.mark.parametrize(
    "name", [7, None, True, {"a": "weights"}, [["weights"]], [7], [None]]
)
def test_names_of_other_kinds_are_refused(name: object, directory: Path) -> None:
    with pytest.raises(ValueError, match=r"weight_map\.1.* in .*index\.json"):
        indexed_files(write_index(directory, "weights", name))


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}']
)
def test_an_index_of_nothing_is_refused(content: str, directory: Path) -> None:
    index = directory / "index.json"
    index.write_text(content)
    with pytest.raises(ValueError, match=r"index\.json"):
        indexed_files(index)


def test_missing_files_are_counted(directory: Path) -> None:
    names = [f"shard-{i}" for i in range(20)]
    with pytest.raises(FileNotFoundError, match=r"20 of them are missing: shard-0, "):
        indexed_files(write_index(directory, "weights", *names))


def test_links_inside_are_followed(directory: Path) -> None:
    (directory / "link").symlink_to("part/weights")
    assert file_inside(directory, "link").read_bytes() == b"inside"


def test_the_cache_of_the_hub_is_read(tmp_path: Path) -> None:
    """A snapshot of huggingface_hub has links to blobs, named by their content."""
    repository = tmp_path / "models--google--paligemma2"
    blob = repository / "blobs" / ("ab" * 32)
    snapshot = repository / "snapshots" / ("12" * 20)
    for folder in (blob.parent, snapshot):
        folder.mkdir(parents=True)
    blob.write_bytes(b"inside")
    (snapshot / "weights").symlink_to(os.path.relpath(blob, snapshot))
    assert file_inside(snapshot, "weights").read_bytes() == b"inside"
    # So do local folders of older versions, far from the cache.
    local = tmp_path / "local"
    local.mkdir()
    (local / "weights").symlink_to(blob)
    assert file_inside(local, "weights").read_bytes() == b"inside"


def test_a_directory_that_is_a_link_is_read(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(directory)
    assert file_inside(tmp_path / "latest", "weights").read_bytes() == b"inside"


@pytest.mark.parametrize("target", ["../secret", "absolute", "folder", "blob"])
def test_links_that_lead_out_are_refused(
    target: str, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "secret").write_bytes(b"outside")
    targets = {"absolute": tmp_path / "secret", "blob": tmp_path / "blobs" / "secret"}
    name = "link"
    if target == "folder":
        (directory / "link").symlink_to(tmp_path)
        name = "link/secret"
    else:
        (directory / "link").symlink_to(targets.get(target, Path(target)))
    with pytest.raises(ValueError, match=r"a link to .*secret"):
        file_inside(directory, name)


@pytest.mark.parametrize("letter", ["x", "界"])
def test_names_without_end_are_shortened(letter: str, directory: Path) -> None:
    """Where the file system would say `[Errno 36] File name too long`."""
    index = directory / "index.json"
    name = letter * 5000
    for content in ({"a": name}, {name: 1}):
        index.write_text(json.dumps({"weight_map": content}))
        with pytest.raises(ValueError, match=letter * 5) as error:
            indexed_files(index)
        assert str(index) in str(error.value)
        assert len(str(error.value)) < 800
    with pytest.raises(ValueError, match="the name of a file in"):
        file_inside(directory, letter * 256)


def test_what_is_no_file_is_refused(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    for name in ("pipe", "part"):
        with pytest.raises(OSError, match="Received: something else"):
            file_inside(directory, name)
    (directory / "dangling").symlink_to("nothing")
    with pytest.raises(FileNotFoundError, match="dangling"):
        file_inside(directory, "dangling")
