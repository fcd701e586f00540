"""Kills of processes that write: nothing is lost, doubled, torn or left behind.

`python -m tests.support.kills --kills 1000` kills so often and prints a table. A kill
is at the beginning of one of the calls to the system that a job makes in its folder
(each open, rename, removal and the like in turn), or at a random moment of the job's
time. Then what is there is read as a user would read it, and the job is done once more.

All of it starts with one process that has imported and built everything, and does
nothing itself: whatever works, and is killed, is forked from it.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
UNFINISHED = "unfinished"
"""What a reader says of files that were not moved to their places; the next writer does
so."""
TOLD = 3
"""Exit status of a job that was told that another one is writing."""
_EVENTS = {
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "fcntl.flock",
}
_COLUMNS = (
    "killed by SIGKILL",
    "killed by SIGTERM",
    "ended before",
    "told",
    "other ended",
    "other told",
    "as before",
    "in between",
    "as after",
    "left for the next call by SIGKILL",
    "left for the next call by SIGTERM",
)
_SECONDS = 120
"""A job that takes longer hangs."""


@dataclass(frozen=True)
class Job:
    """Something that is written.

    Attributes:
        name: What the table calls it.
        prepare: Makes what is in the folder before.
        run: Writes; once more, it does what is left to do, and may raise
            FileExistsError where nothing is left.
        read: Returns what is in the folder, as a user would read it, for comparison.
        is_allowed: Whether that may be found after a kill, given what was there before
            and what is there after an undisturbed run.
        in_two: Whether two processes do it at once, and one is killed.
        share: Of all kills, in relation to other jobs.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    read: Callable[[Path], Any]
    is_allowed: Callable[[Any, Any, Any], bool] = lambda found, before, after: (
        found in (before, after)
    )
    in_two: bool = False
    share: int = 1


@dataclass
class Outcome:
    """What became of the kills of one job."""

    events: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


def digest(*contents: bytes) -> str:
    return hashlib.sha256(b"|".join(contents)).hexdigest()[:16]


def hidden(folder: Path) -> list[str]:
    """Names of what is left: hidden files, and those of temporary names."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    # What huggingface_hub had not finished, its locks, and the folder in which it tries
    # whether there can be links, stay in its cache.
    theirs = re.compile(r"cache/(\.locks|models--[^/]*/(blobs/|tmp))")
    names = [name for name in names if not theirs.search(name)]
    marks = ("/.", "tmp")
    return sorted(n for n in names if any(mark in f"/{n}" for mark in marks))


def forked(work: Callable[[], Any]) -> int:
    """Do something in a process of its own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    faulthandler.dump_traceback_later(_SECONDS - 5)  # Of a job that hangs.
    try:
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except (FileExistsError, TimeoutError, BlockingIOError):
        code = TOLD
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end_of(pid: int) -> int:
    """Wait for a process; returns its exit status, below 0 for a signal."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"A job takes more than {_SECONDS} seconds.")


def in_process(work: Callable[[], Any]) -> Any:
    """Return what a function returns in a process of its own, through JSON."""
    with tempfile.NamedTemporaryFile() as file:
        pid = forked(lambda: Path(file.name).write_text(json.dumps(work())))
        assert end_of(pid) == 0
        return json.loads(Path(file.name).read_text())


def count_events(folder: Path, on_event: Callable[[int], None]) -> list[int]:
    """Count calls to the system about a folder in this process, from now on."""
    counts = [0]
    inside = os.fspath(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            path = arguments[0]
            path = os.fsdecode(path) if isinstance(path, bytes | str) else ""
            if event == "fcntl.flock" or path.startswith(inside):
                counts[0] += 1
                on_event(counts[0])

    sys.addaudithook(hook)
    return counts


def measure(job: Job, folder: Path) -> tuple[Any, Any, int, float]:
    """Return what is there before and after an undisturbed run, its events and time."""

    def run() -> tuple[Any, Any, int, float]:
        before = job.read(folder)
        counts = count_events(folder, lambda number: None)
        start = time.monotonic()
        job.run(folder)
        seconds = time.monotonic() - start
        return before, job.read(folder), counts[0], seconds

    before, after, events, seconds = in_process(run)
    assert hidden(folder) == [], (job.name, hidden(folder))
    assert before != after, job.name
    return before, after, events, seconds


def kill_once(
    job: Job, folder: Path, kind: signal.Signals, at: int | float, outcome: Outcome
) -> Any:
    """Start a job and kill it at an event (int) or after some seconds (float)."""

    def work() -> None:
        from keras_pg2.cli.signals import end_in_order

        end_in_order()
        if isinstance(at, int):

            def on_event(number: int) -> None:
                if number == at:
                    os.kill(os.getpid(), kind)

            count_events(folder, on_event)
        job.run(folder)

    other = forked(lambda: job.run(folder)) if job.in_two else None
    pid = forked(work)
    if isinstance(at, float):
        time.sleep(at)
        os.kill(pid, kind)
    code = end_of(pid)
    if code == 0:
        outcome.counts["ended before"] += 1
    elif code == TOLD:
        outcome.counts["told"] += 1
    else:
        assert code in (-kind, 128 + kind), (job.name, kind, at, code)
        outcome.counts[f"killed by {kind.name}"] += 1
    if other is not None:
        code = end_of(other)
        assert code in (0, TOLD), (job.name, kind, at, code)
        outcome.counts["other told" if code else "other ended"] += 1


def go_on(job: Job, folder: Path) -> tuple[Any, bool, Any]:
    """Return what is found, whether the next call was told so, and what it leaves."""
    found, is_told = job.read(folder), False
    try:
        job.run(folder)
    except FileExistsError:
        is_told = True
    return found, is_told, job.read(folder)


def try_kills(job: Job, number: int, rng: np.random.Generator, root: Path) -> Outcome:
    """Kill a job some times, each in a folder of its own.

    Raises:
        AssertionError: if something is lost, doubled, torn or left behind.
    """
    outcome = Outcome()
    template, measured = root / "template", root / "measured"
    template.mkdir()
    assert end_of(forked(lambda: job.prepare(template))) == 0, job.name
    shutil.copytree(template, measured)
    before, after, outcome.events, outcome.seconds = measure(job, measured)
    moments: list[int | float] = []
    if not job.in_two:
        events = [*range(1, outcome.events + 1)]
        rng.shuffle(events)
        moments += events[: (number + 1) // 2]
    while len(moments) < number:
        moments.append(float(rng.uniform(0, 1.05 * outcome.seconds)))
    for index, at in enumerate(moments):
        kind = SIGNALS[int(rng.integers(2))]
        folder = root / f"{index:04d}"
        shutil.copytree(template, folder)
        where = (job.name, kind.name, at)
        kill_once(job, folder, kind, at, outcome)
        if hidden(folder):
            outcome.counts[f"left for the next call by {kind.name}"] += 1
        found, is_told, again = in_process(lambda folder=folder: go_on(job, folder))
        assert job.is_allowed(found, before, after), (where, found, before, after)
        assert again == after, (where, found, again, after)
        assert not is_told or found == after, where
        assert hidden(folder) == [], (where, hidden(folder))
        ends = {json.dumps(before): "as before", json.dumps(after): "as after"}
        outcome.counts[ends.get(json.dumps(found), "in between")] += 1
        shutil.rmtree(folder)
    return outcome


# What is written. -------------------------------------------------------------------


def nothing(folder: Path) -> None:
    """Leave the folder empty."""


def tensors_of(path: Path) -> Any:
    """What a checkpoint holds, in a hash; None where there is none."""
    from keras_pg2.conversion.formats import open_checkpoint

    try:
        checkpoint = open_checkpoint(path)
    except ValueError as error:
        if "Wait, or save there once more" not in str(error):
            raise
        return UNFINISHED
    except FileNotFoundError:
        assert not path.exists(), f"half a checkpoint at {path}"
        return None
    contents = [v.tobytes() for _, v in sorted(checkpoint.variables())]
    assert checkpoint.preprocessing.tokenizer
    return digest(*contents, checkpoint.preprocessing.tokenizer)


def conversions(sources: tuple[Path, Path]) -> Iterator[Job]:
    """To each format, new and over another checkpoint, and two at once."""
    from keras_pg2.conversion.convert import convert

    first, second = sources
    for to, name in (("hf", "t"), ("preset", "t"), ("npz", "t.npz"), ("sbs", "t.sbs")):

        def run_new(folder: Path, to: str = to, name: str = name) -> None:
            convert(second, folder / name, to)

        def run_over(folder: Path, to: str = to, name: str = name) -> None:
            convert(second, folder / name, to, overwrite=True)

        def prepare(folder: Path, to: str = to, name: str = name) -> None:
            convert(first, folder / name, to)

        def read(folder: Path, name: str = name) -> Any:
            return tensors_of(folder / name)

        yield Job(f"convert to {to}", nothing, run_new, read)
        yield Job(f"convert --overwrite to {to}", prepare, run_over, read)
        if to in ("hf", "sbs"):
            yield Job(f"two convert to {to}", nothing, run_new, read, in_two=True)
            yield Job(
                f"two convert --overwrite to {to}", prepare, run_over, read, in_two=True
            )


def savings(model: Any, other: Any) -> Iterator[Job]:
    """Keras' own files, into a new place and over other ones."""
    from keras_pg2.codecs.exchange import write_json

    def read_preset(folder: Path) -> Any:
        return tensors_of(folder / "preset")

    def prepare_preset(folder: Path) -> None:
        # In shards, whose index must not outlive them.
        other.save_to_preset(folder / "preset", max_shard_size=1.5e-4)
        (folder / "preset" / "notes.txt").write_text("mine")

    def read_with_notes(folder: Path) -> Any:
        assert (folder / "preset" / "notes.txt").read_text() == "mine"
        return read_preset(folder)

    def save_preset(folder: Path) -> None:
        model.save_to_preset(folder / "preset")

    yield Job("save_to_preset", nothing, save_preset, read_preset)
    yield Job(
        "save_to_preset over shards",
        prepare_preset,
        save_preset,
        read_with_notes,
        lambda found, before, after: found in (before, after, UNFINISHED),
    )

    def prepare_archive(folder: Path) -> None:
        other.save(folder / "m.keras")

    def read_archive(folder: Path) -> Any:
        import keras

        loaded = keras.saving.load_model(folder / "m.keras")
        weights = sorted(loaded.backbone.weights, key=lambda v: v.path)
        return digest(*[np.asarray(v).tobytes() for v in weights])

    yield Job(
        "save over a .keras",
        prepare_archive,
        lambda folder: model.save(folder / "m.keras"),
        read_archive,
    )

    def write_coco(folder: Path, value: int = 1) -> None:
        write_json({"images": list(range(2000)), "value": value}, folder / "c.json")

    def prepare_coco(folder: Path) -> None:
        write_coco(folder, 0)

    def read_coco(folder: Path) -> Any:
        return json.loads((folder / "c.json").read_text())["value"]

    yield Job("write_json over a file", prepare_coco, write_coco, read_coco)


def predictions(model: Any, pictures: Path) -> Iterator[Job]:
    """Answers about pictures, in one process and in two."""
    from keras_pg2 import predict

    def run(folder: Path) -> None:
        predict(
            model,
            pictures,
            "ocr",
            folder / "answers.jsonl",
            batch_size=2,
            max_new_tokens=3,
            stop_token_ids=None,
            num_workers=1,
        )

    def read(folder: Path) -> Any:
        path = folder / "answers.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # Torn, and done again.
        found = [json.loads(line) for line in lines]
        keys = Counter(record["id"] for record in found)
        assert not keys or max(keys.values()) == 1, "a record is doubled"
        return {Path(record["id"]).name: record["text"] for record in found}

    def is_allowed(found: Any, before: Any, after: Any) -> bool:
        return found.items() <= after.items()

    yield Job("predict", nothing, run, read, is_allowed, share=4)
    yield Job("two predict", nothing, run, read, is_allowed, in_two=True, share=3)


def runs(make_model: Callable[[], Any], rows: list[Any]) -> Iterator[Job]:
    """Fine-tuning that goes on after each kill."""
    from keras_pg2.conversion.adapters.files import read_adapter
    from keras_pg2.conversion.adapters.runs import SETTINGS_FILE
    from keras_pg2.finetuning.checkpoints import read_progress
    from keras_pg2.finetuning.logs import read_log
    from keras_pg2.finetuning.settings import Settings
    from keras_pg2.finetuning.start import finetune

    settings = Settings(
        epochs=2,
        batch_size=2,
        learning_rate=1e-3,
        checkpoint_steps=1,
        metric="exact_match",
    )

    def run(folder: Path) -> None:
        output = folder / "run"
        resume = (output / SETTINGS_FILE).exists()
        finetune(
            make_model(),
            rows[:6],
            rows[6:],
            settings,
            output,
            resume=resume,
            show_progress=False,
        )

    def read(folder: Path) -> Any:
        from keras_pg2.finetuning.description import find_progress

        output = folder / "run"
        if (output / SETTINGS_FILE).exists():
            find_progress(output / "last", resume=True)
        steps = [step.step for step in read_log(output / "log.csv")]
        assert steps == list(range(1, len(steps) + 1)), steps
        progress = read_progress(output / "last")
        if progress is not None:
            assert progress["step"] <= len(steps) or not steps
        for path in output.glob("*/adapter.safetensors"):
            read_adapter(path)
        product = output / "adapter.safetensors"
        if not product.exists() or not (output / "README.md").exists():
            return {"steps": len(steps)}
        layers = read_adapter(product).layers
        # Threads of PyTorch's backward pass may add in another order.
        sums = [round(float(np.abs(f.b).sum()), 3) for f in layers.values()]
        return {"steps": len(steps), "sums": sums}

    def is_allowed(found: Any, before: Any, after: Any) -> bool:
        return found == after or (
            "sums" not in found and found["steps"] <= after["steps"]
        )

    yield Job("finetune", nothing, run, read, is_allowed)


def exports(model: Any) -> Iterator[Job]:
    """ONNX, which needs no TensorFlow."""
    # What a signal interrupts in the start of an extension is an ImportError.
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    from keras_pg2.deploy.onnx.export import export_onnx

    def read(folder: Path) -> Any:
        path = folder / "onnx"
        if not path.exists():
            return None
        files = sorted(p for p in path.rglob("*") if p.is_file())
        names = [str(p.relative_to(path)) for p in files]
        return [names, digest(*[p.read_bytes() for p in files])]

    def run(folder: Path) -> None:
        export_onnx(model, folder / "onnx")

    yield Job("export to ONNX", nothing, run, read, share=2)


def downloads(files: Path, stack: ExitStack) -> Iterator[Job]:
    """A repository of a server on this machine, in a cache of each folder."""
    from http.server import ThreadingHTTPServer

    from huggingface_hub import constants

    from keras_pg2.catalogue.download import download
    from tests.catalogue.test_download import REPOSITORY, Hub, handler_of

    served = Hub()
    served.files = {p.name: p.read_bytes() for p in files.iterdir() if p.is_file()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(served))
    server.handle_error = lambda *arguments: None  # Who is killed hangs up.
    address = f"http://127.0.0.1:{server.server_port}"
    pid = os.fork()
    if not pid:
        server.serve_forever()
    server.server_close()
    stack.callback(lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0)))
    constants.ENDPOINT = address
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    constants.HUGGINGFACE_CO_URL_TEMPLATE = template
    constants.HF_HUB_DISABLE_XET = constants.HF_HUB_DISABLE_PROGRESS_BARS = True
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 14

    def run(folder: Path) -> None:
        constants.HF_HUB_CACHE = str(folder / "cache")
        download(f"hf://{REPOSITORY}")

    def read(folder: Path) -> Any:
        found = sorted((folder / "cache").glob("**/snapshots/*/*"))
        for path in found:
            assert path.read_bytes() == served.files[path.name], f"{path} is torn"
        return [path.name for path in found]

    def is_allowed(found: Any, before: Any, after: Any) -> bool:
        return set(found) <= set(after)

    yield Job("download", nothing, run, read, is_allowed, share=3)


def all_jobs(root: Path, stack: ExitStack) -> Iterator[Job]:
    """Every job, with all that it needs made once."""
    from keras_pg2.conversion.from_model import write_model
    from tests.support.finetuning_runs import make_model, make_rows
    from tests.support.tiny_models import random_task

    first, second = random_task(0), random_task(1)
    sources = (root / "first", root / "second")
    write_model(first, sources[0], "hf")
    write_model(second, sources[1], "hf")
    rows = make_rows(root / "pictures", 8)
    yield from conversions(sources)
    yield from savings(second, first)
    yield from predictions(first, root / "pictures")
    yield from runs(make_model, rows)
    yield from exports(first)
    yield from downloads(sources[0], stack)


def main() -> None:
    """Kill, and print a table of what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="Part of the names of jobs.")
    options = parser.parse_args()
    # Other backends have threads, which a fork would stop.
    os.environ.update(KERAS_BACKEND="torch", OMP_NUM_THREADS="1")
    rng = np.random.default_rng(options.seed)
    total = Counter[str]()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        (root / "given").mkdir()
        jobs = [*all_jobs(root / "given", stack)]
        jobs = [job for job in jobs if options.only in job.name]
        shares = np.array([job.share for job in jobs])
        ends = np.round(np.cumsum(shares) * options.kills / shares.sum()).astype(int)
        print(f"| job | events | seconds | kills | {' | '.join(_COLUMNS)} |")
        for job, number in zip(jobs, np.diff(ends, prepend=0).tolist()):
            folder = root / "job"
            folder.mkdir()
            found = try_kills(job, number, rng, folder)
            shutil.rmtree(folder)
            total += found.counts
            cells = [found.counts[name] for name in _COLUMNS]
            numbers = [found.events, f"{found.seconds:.2f}", number, *cells]
            print(f"| {job.name} | {' | '.join(map(str, numbers))} |", flush=True)
        numbers = [options.kills, *(total[name] for name in _COLUMNS)]
        print(f"| all | | | {' | '.join(map(str, numbers))} |")


if __name__ == "__main__":
    main()
