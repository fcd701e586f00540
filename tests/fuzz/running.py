"""Many inputs of many formats, in processes that may crash, hang or fill memory."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.fuzz.bench import MAX_SECONDS, Bench, Report, prepare_process
from tests.fuzz.judging import Outcome
from tests.fuzz.targets import FORMATS

CHUNK = 500
"""Inputs of one process."""
_FORK = multiprocessing.get_context("fork")
_MOST_SAVED = 5
"""Inputs of one fault that are kept as files."""


@dataclass
class Findings:
    """What came of all inputs.

    Attributes:
        counts: Number of inputs by format and outcome.
        seconds: Seconds spent reading, by format.
        slowest: Longest read of a format.
        faults: Indices of inputs by format, outcome, and words on where it came from.
    """

    counts: dict[str, Counter[Outcome]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    seconds: Counter[str] = field(default_factory=Counter)
    slowest: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, Outcome, str], list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, name: str, index: int, report: Report) -> None:
        self.counts[name][report.outcome] += 1
        self.seconds[name] += report.seconds
        self.slowest[name] = max(self.slowest[name], report.seconds)
        if report.outcome.is_fault:
            kind = report.words.partition(":")[0]
            place = report.place or kind
            if report.outcome is Outcome.RAW:
                place = f"{kind} at {report.place}"
            self.faults[name, report.outcome, place].append((index, report.words))

    @property
    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.counts.values())


@contextmanager
def base_files(names: Sequence[str]) -> Iterator[Path]:
    """Write whole files of formats into a folder, in memory where there is room."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=memory if memory.is_dir() else None
    ) as folder:
        root = Path(folder)
        for name in names:
            base = root / "bases" / name
            base.mkdir(parents=True)
            FORMATS[name].write(base)
        yield root


def share_out(names: Sequence[str], count: int) -> dict[str, int]:
    """Return how many of `count` inputs each format gets."""
    total = sum(FORMATS[name].share for name in names)
    return {name: max(1, round(count * FORMATS[name].share / total)) for name in names}


def run(
    root: Path,
    counts: dict[str, int],
    seed: int,
    num_processes: int,
    advance: Callable[[str], Any] = lambda name: None,
) -> Findings:
    """Test inputs 0, 1, ... of formats whose files are in `base_files`.

    Args:
        root: Folder of `base_files`.
        counts: Number of inputs by format.
        seed: Seed of all.
        num_processes: Processes at a time.
        advance: Is told the format of each input that is done.
    """
    todo = deque(
        (name, start, min(start + CHUNK, count))
        for name, count in counts.items()
        for start in range(0, count, CHUNK)
    )
    findings = Findings()
    running: dict[Connection, _Worker] = {}
    while todo or running:
        while todo and len(running) < num_processes:
            worker = _Worker(root, seed, *todo.popleft())
            running[worker.connection] = worker
        for connection in wait(list(running), timeout=1.0):
            worker = running[connection]  # type: ignore[index]
            try:
                report = worker.connection.recv()
            except EOFError:
                report = None
            if report is not None:
                findings.add(worker.name, worker.index, report)
                advance(worker.name)
                worker.take_next()
                continue
            del running[worker.connection]
            rest = worker.end()
            if rest is not None:
                words = f"the process ended with {worker.process.exitcode}"
                outcome = Outcome.SLOW if worker.was_killed else Outcome.CRASHED
                findings.add(worker.name, worker.index, Report(outcome, 0, words))
                advance(worker.name)
                todo.appendleft(rest)
        for worker in running.values():
            worker.kill_if_stuck()
    return findings


class _Worker:
    """A process that tests some inputs, and what is known of it."""

    def __init__(self, root: Path, seed: int, name: str, start: int, stop: int) -> None:
        self.name, self.index, self.stop = name, start, stop
        self.connection, other = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(
            target=_work, args=(other, root, seed, name, start, stop)
        )
        self.process.start()
        other.close()
        self.was_killed = False
        self._last = time.monotonic() + 60  # Until its files are there.

    def take_next(self) -> None:
        self.index += 1
        self._last = time.monotonic()

    def kill_if_stuck(self) -> None:
        """End a process that does not come back from a library."""
        if time.monotonic() > self._last + 3 * MAX_SECONDS:
            self.was_killed = True
            self.process.kill()

    def end(self) -> tuple[str, int, int] | None:
        """Return what is left to do after an input that has ended the process."""
        self.process.join()
        self.connection.close()
        if self.index >= self.stop:
            return None
        return self.name, self.index + 1, self.stop


def _work(
    connection: Connection, root: Path, seed: int, name: str, start: int, stop: int
) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    faulthandler.disable()
    own = root / f"{os.getpid()}"
    own.mkdir()
    try:
        prepare_process(own)
        bench = Bench(name, own / name, root / "bases" / name)
        for index in range(start, stop):
            connection.send(bench.test(seed, index))
    except Exception as error:  # Of the fuzzer, not of a reader.
        connection.send(Report(Outcome.CRASHED, 0, f"not read: {error!r}"))
    finally:
        shutil.rmtree(own, ignore_errors=True)


def save_faults(findings: Findings, root: Path, seed: int, target: Path) -> None:
    """Write a few inputs of each fault as files, with the line that replays each."""
    shutil.rmtree(target, ignore_errors=True)
    for (name, outcome, place), inputs in findings.faults.items():
        own = root / f"saved-{len(os.listdir(root))}"
        bench = Bench(name, own / name, root / "bases" / name)
        for index, words in inputs[:_MOST_SAVED]:
            file, content = bench.damaged(seed, index)
            folder = target / name / f"{outcome.replace(' ', '-')}-{index}"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
            (folder / "why.txt").write_text(
                f"{outcome}: {words!r} at {place}\n{replay_line(name, seed, index)}\n"
            )


def replay_line(name: str, seed: int, index: int) -> str:
    return f"python -m tests.fuzz --format {name} --seed {seed} --index {index}"


def print_findings(findings: Findings, seed: int, console: Console) -> None:
    """Print a table of outcomes by format, and each fault with an input to replay."""
    used = [o for o in Outcome if any(o in c for c in findings.counts.values())]
    table = Table(*["format", *used, "ms", "slowest s"], box=None)
    for name, counts in findings.counts.items():
        each = 1000 * findings.seconds[name] / counts.total()
        cells = [f"{counts[outcome]:,}" for outcome in used]
        table.add_row(name, *cells, f"{each:.1f}", f"{findings.slowest[name]:.1f}")
    totals = sum(findings.counts.values(), Counter())
    table.add_row("all", *(f"{totals[outcome]:,}" for outcome in used), "", "")
    console.print(table)
    for (name, outcome, place), inputs in sorted(findings.faults.items()):
        index, words = inputs[0]
        console.print(
            f"{len(inputs)} x {name}: {outcome}, {place}\n    {words!r}\n"
            f"    {replay_line(name, seed, index)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
