"""What goes wrong while converting, and what is then left on the disk."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pg2.cli.app import app
from keras_pg2.conversion.convert import convert
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.from_model import write_model
from keras_pg2.files import whole_files
from tests.support.small_disk import small_disk
from tests.support.tiny_models import random_task
from tests.support.tiny_vocabulary import gemma_like_proto

MORE = (
    b"\xf8\x3f\x01"  # A field that no version of SentencePiece has: it is passed over.
)
TARGETS = [("hf", "t"), ("preset", "t"), ("npz", "t.npz"), ("sbs", "t.sbs")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(random_task(), tmp_path_factory.mktemp("source") / "hf", "hf")


def damaged(source: Path, tmp_path: Path) -> Path:
    """A copy whose last tensor, the final norm, holds a NaN."""
    copy = Path(shutil.copytree(source, tmp_path / "damaged"))
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    return copy


@pytest.mark.parametrize(("to", "name"), TARGETS)
def test_a_failure_leaves_nothing_and_spares_what_was_there(
    to: str, name: str, source: Path, tmp_path: Path
) -> None:
    bad = damaged(source, tmp_path)
    target = tmp_path / "out" / name
    with pytest.raises(ValueError, match=r"NaN or infinity in .*norm\.weight"):
        convert(bad, target, to)
    assert not list(target.parent.iterdir())
    convert(source, target, to)
    before = contents(target)
    with pytest.raises(ValueError, match="NaN or infinity"):
        convert(bad, target, to, overwrite=True)
    assert contents(target) == before
    with pytest.raises(FileExistsError, match=r"there already.*or allow to overwrite"):
        convert(source, target, to)
    convert(source, target, to, overwrite=True)
    assert contents(target).keys() == before.keys()
    assert not [p for p in target.parent.iterdir() if p.name.startswith(".")]


def test_an_overwrite_that_was_killed_is_read_and_put_back(
    source: Path, tmp_path: Path
) -> None:
    target, part = tmp_path / "t", tmp_path / ".t.part"
    shutil.copytree(source, part / "old")
    before = contents(tmp_path)
    assert open_checkpoint(target).num_parameters
    assert contents(tmp_path) == before
    assert not target.exists()
    with pytest.raises(FileExistsError, match="there already"):
        convert(source, target, "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(file): file.read_bytes() for file in files}


@pytest.mark.parametrize(("to", "name"), TARGETS)
def test_a_directory_of_something_else_is_not_overwritten(
    to: str, name: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / name
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="a directory"):
        convert(source, target, to, overwrite=True)
    assert (target / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("config", ['{"port": 80}', "not JSON", "[]"])
def test_a_directory_with_another_config_is_not_overwritten(
    config: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "project"
    (target / "src").mkdir(parents=True)
    (target / "config.json").write_text(config)
    (target / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"without a config\.json of one"):
        convert(source, target, "hf", overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("to", ["hf", "preset"])
def test_files_that_no_checkpoint_has_are_named(
    to: str, source: Path, tmp_path: Path
) -> None:
    target = convert(source, tmp_path / "t", to)
    convert(source, target, "hf" if to == "preset" else "preset", overwrite=True)
    (target / "src").mkdir()
    (target / "src" / "config.json").write_text("{}")
    (target / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"'src/config\.json', 'thesis\.tex'"):
        convert(source, target, to, overwrite=True)
    assert contents(tmp_path) == before


def test_every_file_that_is_written_is_known(tmp_path: Path) -> None:
    """What any of our writers makes can be overwritten again."""
    model = random_task()
    for size in (None, 1.5e-4):
        model.save_to_preset(tmp_path / "t", max_shard_size=size)
        for to in ("hf", "preset"):
            write_model(model, tmp_path / "t", to, overwrite=True)


@pytest.mark.parametrize("way", ["same", "./same", "link", "same/", "parent", "linked"])
def test_a_source_is_not_replaced(way: str, source: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    same, parent = tmp_path / "same", tmp_path / "parent"
    shutil.copytree(source, same)
    shutil.copytree(source, parent)
    shutil.copytree(source, parent / "inner")
    (tmp_path / "link").symlink_to(same)
    (tmp_path / "linked").symlink_to(parent)
    taken = parent / "inner" if way in ("parent", "linked") else same
    before = contents(tmp_path)
    target = f"{tmp_path}/{way}"
    with pytest.raises(ValueError, match="a target apart from the source"):
        convert(taken, target, "hf", overwrite=True)
    done = runner.invoke(
        app, ["convert", str(taken), target, "--to", "hf", "--overwrite"]
    )
    assert done.exit_code == 2, done.output
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("to", "name"), TARGETS)
def test_another_kind_of_target_is_told_before_the_work(
    to: str, name: str, source: Path, tmp_path: Path
) -> None:
    def advance(num_bytes: int) -> None:
        raise AssertionError("That is the work.")

    targets = []
    if to in ("hf", "preset"):
        (tmp_path / name).write_text("mine")
        targets = [tmp_path / name, Path("/dev/null")]
    else:
        os.mkfifo(tmp_path / name)
        targets = [tmp_path / name]
    for target in targets:
        with pytest.raises(FileExistsError, match="Choose another name"):
            convert(source, target, to, overwrite=True, advance=advance)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.fixture
def small_files() -> Iterator[None]:
    """Writing more than 100 kB to a file fails, as on a full disk."""
    with small_disk(100_000):
        yield


@pytest.mark.parametrize(("to", "name"), TARGETS)
@pytest.mark.usefixtures("small_files")
def test_a_write_that_fails(to: str, name: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large"):
        convert(source, tmp_path / name, to)
    assert not list(tmp_path.iterdir())


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_told_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        whole_files.shutil, "disk_usage", lambda path: Usage(9, 9, 1000)
    )
    with pytest.raises(OSError, match=r"of space for .* are free"):
        convert(source, tmp_path / "out", "hf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("to", "name", "dtype", "message"),
    [
        ("gguf", "t", None, "a format of hf, preset, npz, sbs"),
        ("hf", "t", "sfp", "Received: 'sfp'"),
        ("sbs", "t.sbs", "fp16", "bfloat16, float32, sfp"),
        ("npz", "t", None, r"ends in \.npz"),
        ("sbs", "t.npz", None, r"ends in \.sbs"),
    ],
)
def test_bad_words(
    to: str, name: str, dtype: str | None, message: str, tmp_path: Path
) -> None:
    # The source is not even looked for.
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "nowhere", tmp_path / name, to, dtype)


def test_onto_itself(source: Path) -> None:
    with pytest.raises(ValueError, match="apart from the source"):
        convert(source, source, "hf", overwrite=True)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="where nothing is"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "a.bin").touch()
    with pytest.raises(ValueError, match=r"a\.bin"):
        open_checkpoint(tmp_path / "a.bin")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(FileNotFoundError, match="the whole repository"):
        open_checkpoint(tmp_path)
    (tmp_path / "b.npz").touch()
    with pytest.raises(FileNotFoundError, match=r"a directory of b\.npz"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kind", ["hf", "preset", "sbs"])
def test_a_given_tokenizer_is_taken(kind: str, source: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.model"
    given.write_bytes(gemma_like_proto() + MORE)
    name = f"t.{kind}" if kind == "sbs" else "t"
    model = convert(source, tmp_path / name, kind)
    written = convert(model, tmp_path / "out.sbs", "sbs", tokenizer=given)
    assert open_checkpoint(written).preprocessing.tokenizer == given.read_bytes()
    assert open_checkpoint(model, given).preprocessing.tokenizer == given.read_bytes()
    with pytest.raises(FileNotFoundError, match="a SentencePiece file at"):
        open_checkpoint(model, tmp_path / "none.model")


@pytest.mark.parametrize(("to", "name"), TARGETS)
def test_a_vocabulary_that_sentencepiece_refuses(
    to: str, name: str, source: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given.model"
    given.write_bytes(gemma_like_proto()[:-5])
    with pytest.raises(ValueError, match=r"SentencePiece model .*given\.model"):
        convert(source, tmp_path / "out" / name, to, tokenizer=given)
    own = Path(shutil.copytree(source, tmp_path / "own"))
    (own / "tokenizer.model").write_bytes(given.read_bytes())
    with pytest.raises(ValueError, match=r"SentencePiece model .*own"):
        convert(own, tmp_path / "out" / name, to)
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_not_replaced(source: Path, tmp_path: Path) -> None:
    beside = tmp_path / "paligemma_tokenizer.model"
    beside.write_bytes(b"another")
    with pytest.raises(FileExistsError, match="where another one is"):
        convert(source, tmp_path / "m.npz", "npz")
    assert [p.name for p in tmp_path.iterdir()] == [beside.name]


@pytest.mark.parametrize(("to", "name"), TARGETS)
def test_memory_is_that_of_a_few_tensors(to: str, name: str, tmp_path: Path) -> None:
    # Many blocks beside a small embedding, so that all of them are most of the file.
    task = random_task(
        num_layers=24, hidden_dim=96, intermediate_dim=512, query_pre_attn_scalar=8
    )
    source = write_model(task, tmp_path / "source", "preset")
    checkpoint = open_checkpoint(source)
    largest = max(value.nbytes for _, value in checkpoint.variables())
    written: list[int] = []
    convert(source, tmp_path / f"warm_{name}", to)  # Imports are no tensors.
    tracemalloc.start()
    convert(source, tmp_path / name, to, advance=written.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(written) >= checkpoint.num_bytes // (2 if to == "sbs" else 1)
    assert peak < min(6 * largest, checkpoint.num_bytes)
