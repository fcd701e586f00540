"""Files and directories: the old or the new one, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keras_pg2.files import whole_files
from keras_pg2.files.whole_files import (
    check_finished,
    claimed,
    readable,
    recover,
    replaced,
    staged,
    updated,
    write_text,
)

# The module alone: the package would take seconds to import.
WRITER = f"""
import pathlib, runpy, sys, time
module = runpy.run_path({whole_files.__file__!r})
target = pathlib.Path(sys.argv[1])

def stop():
    print("here", flush=True)
    time.sleep(60)

"""
IN_THE_MIDDLE = """
with module["replaced"](target) as part:
    part.write_text("half")
    stop()
"""
BETWEEN_THE_RENAMES = """
pathlib.Path.replace = lambda *arguments: stop()
with module["replaced"](target) as part:
    part.mkdir()
    (part / "config.json").write_text("new")
"""


def start_writer(script: str, target: Path) -> subprocess.Popen:
    """A process that stands still in a write."""
    command = [sys.executable, "-c", WRITER + script, str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_directory(target: Path, text: str) -> None:
    with replaced(target) as part:
        part.mkdir()
        (part / "config.json").write_text(text)


@pytest.mark.parametrize("name", ["a.txt", "ü" * 126 + ".md", "lock"])
def test_a_killed_writer_leaves_what_was_there(tmp_path: Path, name: str):
    target = tmp_path / name
    write_text("old", target)
    kill(start_writer(IN_THE_MIDDLE, target))
    assert target.read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_text("new", target)
    assert target.read_text() == "new"
    assert names(tmp_path) == [name]


def test_what_a_killed_writer_left_is_cleared_up(tmp_path: Path):
    kill(start_writer(IN_THE_MIDDLE, tmp_path / "a"))
    assert names(tmp_path) == [".a.part"]
    recover(tmp_path / "a")
    assert names(tmp_path) == []


@pytest.mark.parametrize("next_call", ["reader", "writer", "refused writer"])
def test_a_kill_between_the_renames_heals(tmp_path: Path, next_call: str):
    target = tmp_path / "run"
    write_directory(target, "old")
    kill(start_writer(BETWEEN_THE_RENAMES, target))
    assert names(tmp_path) == [".run.part"]
    if next_call == "reader":
        assert (readable(target) / "config.json").read_text() == "old"
        assert names(tmp_path) == [".run.part"]
        recover(target)
    elif next_call == "writer":
        with staged(
            target, overwrite=True, check_directory=lambda directory: None
        ) as part:
            assert (target / "config.json").read_text() == "old"
            shutil.copytree(target, part)
    else:
        with pytest.raises(FileExistsError), staged(target, overwrite=False):
            pass
    assert (target / "config.json").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_a_writer_that_lives_is_left_alone(tmp_path: Path, monkeypatch):
    target = tmp_path / "a.txt"
    monkeypatch.setattr(whole_files, "_MAX_SECONDS", 0.1)
    process = start_writer(IN_THE_MIDDLE, target)
    part = tmp_path / ".a.txt.part" / "new.txt"
    try:
        recover(target)
        with pytest.raises(TimeoutError, match="another process is writing"):
            write_text("mine", target)
        assert part.read_text() == "half"
        write_text("other", tmp_path / "b.txt")
        process.send_signal(signal.SIGSTOP)
        recover(target)
        assert part.read_text() == "half"
    finally:
        kill(process)
    write_text("mine", target)
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_the_second_of_two_writers_is_told(tmp_path: Path):
    target, told = tmp_path / "a", []

    def write() -> None:
        try:
            with staged(target, overwrite=False) as part:
                part.write_text("second")
        except FileExistsError as error:
            told.append(str(error))

    with staged(target, overwrite=False) as part:
        part.write_text("first")
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert target.read_text() == "first"
    assert "there already" in told[0]


def test_many_writers_of_one_target(tmp_path: Path):
    target = tmp_path / "a"
    texts = [str(i) * 1000 for i in range(8)]

    def write(text: str) -> None:
        for _ in range(20):
            with replaced(target, sync=False) as part:
                part.write_text(text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in texts
    assert names(tmp_path) == ["a"]


def test_all_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch):
    target = tmp_path / "run"
    write_directory(target, "old")
    order, (sync, rename, replace) = [], (os.fsync, os.rename, os.replace)

    def record_sync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        order.append(f"sync {path.relative_to(tmp_path)}")
        sync(file)

    def record_rename(source, target, **options) -> None:
        order.append(f"rename {Path(target).name}")
        (replace if Path(target).exists() else rename)(source, target, **options)

    if not Path("/proc/self/fd").exists():
        pytest.skip("the names of open files are not known here")
    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(os, "replace", record_rename)
    with replaced(target) as part:
        (part / "inner").mkdir(parents=True)
        (part / "inner" / "weights").write_text("new")
        (part / "config.json").write_text("new")
    first, last = order[:4], order[4:]
    assert set(first[:3]) == {
        "sync .run.part/new/config.json",
        "sync .run.part/new/inner/weights",
        "sync .run.part/new/inner",
    }
    assert first[3] == "sync .run.part/new"
    # The old one is removed from where nobody looks for it.
    assert last == ["rename old", "rename run", "sync .", "rename gone_old"]


@pytest.mark.parametrize("killed_at", ["part", "between", "after"])
def test_a_directory_is_the_old_or_the_new_one(tmp_path: Path, killed_at: str):
    target, part = tmp_path / "run", tmp_path / ".run.part"
    old = part / "old"
    part.mkdir()
    # As a killed process leaves them: half a new one; none; both.
    whole = {"part": target, "between": old, "after": target}[killed_at]
    whole.mkdir()
    (whole / "file").write_text("new" if killed_at == "after" else "old")
    rest = old if killed_at == "after" else part / "new"
    rest.mkdir()
    (rest / "file").write_text("rest")
    recover(target)
    assert names(tmp_path) == ["run"]
    assert (target / "file").read_text() == ("new" if killed_at == "after" else "old")


def test_a_directory_stays_when_its_successor_fails(tmp_path: Path, monkeypatch):
    target = tmp_path / "run"
    write_directory(target, "first")
    with pytest.raises(FileNotFoundError), replaced(target) as part:
        part.joinpath("no", "folder").write_text("second")
    assert (target / "config.json").read_text() == "first"

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_directory(target, "second")
    assert (target / "config.json").read_text() == "first"
    assert names(tmp_path) == ["run"]


def test_nothing_is_made_for_what_cannot_be_written(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_text("text", tmp_path / "no" / "a.txt")
    for path in (tmp_path / "no" / "a.txt", Path("."), Path("/"), Path("x" * 300)):
        recover(path)
    (tmp_path / "a").write_text("old")
    inside, beside = tmp_path / "a" / "b", tmp_path / "b"
    with pytest.raises(NotADirectoryError), staged(inside, None):
        pass
    with pytest.raises(OSError, match="of space for"), staged(beside, None, 2**60):
        pass
    assert names(tmp_path) == ["a"]


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_text("text", tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_half_of_a_removed_directory_is_not_put_back(tmp_path: Path, monkeypatch):
    target = tmp_path / "run"
    write_directory(target, "old")

    def stop(path: Path) -> None:
        # Killed while it removes what it has replaced.
        assert not (tmp_path / ".run.part" / "old").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            write_directory(target, "new")
    shutil.rmtree(target)
    recover(target)
    assert names(tmp_path) == []


def test_a_symbolic_link_stays_one(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    for name in ("a.txt", "run"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    write_text("new", tmp_path / "a.txt")
    write_directory(tmp_path / "run", "first")
    write_directory(tmp_path / "run", "second")
    recover(tmp_path / "run")
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "disk" / "a.txt").read_text() == "new"
    assert (tmp_path / "disk" / "run" / "config.json").read_text() == "second"
    assert names(tmp_path / "disk") == ["a.txt", "run"]


def test_a_link_that_leads_to_itself_is_refused_before_the_work(tmp_path: Path):
    for name, target in (("loop", "loop"), ("a", "b"), ("b", "a"), ("into", "loop/x")):
        (tmp_path / name).symlink_to(target)
    for name, link in (("loop",) * 2, ("a",) * 2, ("into", "loop"), ("loop/x", "loop")):
        path = tmp_path / name
        for writing in (staged(path, None), staged(path, True), replaced(path)):
            with pytest.raises(OSError, match=rf"/{link}, a link that leads"), writing:
                pytest.fail("It was worked for nothing.")
    with (
        pytest.raises(OSError, match="loop, a link that leads"),
        updated(tmp_path / "loop"),
    ):
        pytest.fail("It was worked for nothing.")
    assert names(tmp_path) == ["a", "b", "into", "loop"]
    assert (tmp_path / "loop").is_symlink()


def fill(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


BEFORE = {"config": "old", "weights_0": "old", "notes": "mine", "assets__a": "old"}
AFTER = {"config": "new", "weights": "new", "notes": "mine", "assets/a": "new"}


def update(folder: Path) -> None:
    with updated(folder, ["weights*"]) as part:
        fill(part, config="new", weights="new", assets__a="new")


def test_files_are_added_to_a_directory(tmp_path: Path):
    fill(tmp_path / "new" / "one")
    update(tmp_path / "new" / "one")
    assert contents(tmp_path / "new" / "one") == {
        key: "new" for key in AFTER if key != "notes"
    }
    fill(tmp_path / "old", **BEFORE)
    update(tmp_path / "old")
    assert contents(tmp_path / "old") == AFTER
    assert sorted(names(tmp_path / "old")) == ["assets", "config", "notes", "weights"]
    with pytest.raises(FileNotFoundError), updated(tmp_path / "old") as part:
        (part / "config").rename(part / "no" / "folder")
    assert contents(tmp_path / "old") == AFTER


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("reader", ["reader", "writer"])
def test_an_interrupted_update_is_finished(
    number: int, reader: str, tmp_path: Path, monkeypatch
):
    folder = tmp_path / "preset"
    fill(folder, **BEFORE)
    calls = [0]

    def count(call):
        def counted(*arguments, **options):
            calls[0] += 1
            if calls[0] >= number:
                raise OSError("stopped")
            return call(*arguments, **options)

        return counted

    with monkeypatch.context() as patch:
        # From the rename that makes the new files count, on.
        for name in ("rename", "replace", "unlink"):
            patch.setattr(Path, name, count(getattr(Path, name)))
        with pytest.raises(OSError, match="stopped"):
            update(folder)
    if reader == "reader":
        if number > 1:  # From the first removal on, it is neither the old nor the new.
            left = contents(folder)
            with pytest.raises(ValueError, match="new files that are not in their"):
                check_finished(folder)
            assert contents(folder) == left
        recover(folder)
        check_finished(folder)
        before = {key.replace("__", "/"): text for key, text in BEFORE.items()}
        assert contents(folder) == (before if number == 1 else AFTER)
    update(folder)
    assert contents(folder) == AFTER
    assert not [name for name in names(folder) if name.startswith(".")]


def test_a_claim_is_of_one(tmp_path: Path):
    with claimed(tmp_path / "run") as folder:
        recover(tmp_path / "run")
        assert folder.is_dir()
        with pytest.raises(TimeoutError, match="another process"):
            claimed(tmp_path / "run").__enter__()
    assert names(tmp_path) == []


def tree(folder: Path) -> dict[str, str]:
    """All of a folder, links as what they say."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def ready(folder: Path, *files: str, stale: tuple[str, ...] = ()) -> Path:
    """Make what an updating writer leaves; returns its folder."""
    found = folder / ".keras_pg2.part" / "ready"
    (found / "files").mkdir(parents=True)
    (found / "stale").mkdir()
    for name in files:
        fill(found / "files", **{name.replace("/", "__"): "stranger's"})
    for name in stale:
        (found / "stale" / name).touch()
    return found


HOSTILE = {
    "the folder is a link": lambda evil, victim: link(evil / ".keras_pg2.part", victim),
    "the folder beside is a link": lambda evil, victim: link(
        evil.parent / ".evil.part", victim
    ),
    "the folder beside is another's": lambda evil, victim: fill(
        evil.parent / ".evil.part", thesis="years"
    ),
    "the folder is a file": lambda evil, victim: (evil / ".keras_pg2.part").write_text(
        "x"
    ),
    "the lock is a link": lambda evil, victim: link(
        evil / ".keras_pg2.part" / "lock", victim / "file"
    ),
    "the lock is a pipe": lambda evil, victim: pipe(evil / ".keras_pg2.part" / "lock"),
    "the old one is a link": lambda evil, victim: link(
        evil.parent / ".evil.part" / "old", victim
    ),
    "new files are a link": lambda evil, victim: link(
        evil / ".keras_pg2.part" / "ready", victim
    ),
    "their folder is a link": lambda evil, victim: (
        (ready(evil) / "files").rmdir(),
        link(evil / ".keras_pg2.part" / "ready" / "files", victim),
    ),
    "one of them is a link": lambda evil, victim: link(
        ready(evil) / "files" / "a", victim / "file"
    ),
    "a folder of them is a link": lambda evil, victim: link(
        ready(evil) / "files" / "a", victim
    ),
    "one of them is a pipe": lambda evil, victim: pipe(ready(evil) / "files" / "a"),
    "their place is behind a link": lambda evil, victim: (
        ready(evil, "sub/file"),
        link(evil / "sub", victim),
    ),
    "their place is a directory": lambda evil, victim: (
        ready(evil, "sub"),
        (evil / "sub").mkdir(),
    ),
    "what goes is a directory": lambda evil, victim: (
        ready(evil, stale=("sub",)),
        (evil / "sub").mkdir(),
    ),
    "names are a list in a file": lambda evil, victim: (
        (ready(evil) / "stale").rmdir(),
        (evil / ".keras_pg2.part/ready/stale").write_text('["../victim/file"]'),
    ),
    "names are a pipe": lambda evil, victim: (
        (ready(evil) / "stale").rmdir(),
        pipe(evil / ".keras_pg2.part" / "ready" / "stale"),
    ),
    "names are links": lambda evil, victim: link(
        ready(evil) / "stale" / "a", victim / "file"
    ),
    "there is more": lambda evil, victim: (ready(evil) / "more").touch(),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_what_no_writer_left_is_refused_and_stays(kind: str, tmp_path: Path):
    evil, victim = tmp_path / "evil", tmp_path / "victim"
    fill(evil, config="stranger's")
    fill(victim, file="mine")
    HOSTILE[kind](evil, victim)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"Nothing was changed") as error:
        recover(evil)
    assert ".part" in str(error.value) or "/sub" in str(error.value)
    write = updated if (evil / ".keras_pg2.part").exists() else replaced
    with pytest.raises(ValueError, match=r"Nothing was changed"), write(evil):
        raise AssertionError("That would be written.")
    assert tree(tmp_path) == before


def test_names_that_lead_out_are_no_names_of_stale_files(tmp_path: Path):
    """A name in a folder has no separators: what goes is in the directory itself."""
    fill(tmp_path / "evil", old="x")
    link(tmp_path / "evil" / "linked", tmp_path / "victim")
    fill(tmp_path / "victim", file="mine")
    ready(tmp_path / "evil", "file", stale=("old", "linked"))
    recover(tmp_path / "evil")
    assert contents(tmp_path / "evil") == {"file": "stranger's"}
    assert contents(tmp_path / "victim") == {"file": "mine"}


def test_a_linked_folder_is_not_written_through(tmp_path: Path):
    fill(tmp_path / "preset", config="old")
    link(tmp_path / "preset" / "assets", tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="preset/assets"):
        update(tmp_path / "preset")
    assert tree(tmp_path) == before


def test_a_device_is_not_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="a pipe or a device"), replaced(path):
            raise AssertionError("That would be written.")
    assert names(tmp_path) == ["pipe"]
