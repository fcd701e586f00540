"""One format in one process: damages its files, reads them, says what came of it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.judging import (
    ElsewhereError,
    Outcome,
    SlowError,
    digest,
    judge_error,
)
from tests.fuzz.targets import FORMATS

MAX_SECONDS = 10.0
MAX_MEMORY = 200_000_000
"""Bytes that reading may take beside four times the size of the files."""
SECRETS = ("secret", "secret.h5")


class Report(NamedTuple):
    """What came of reading a damaged file.

    Attributes:
        outcome: What it is to a user.
        seconds: That it took.
        words: Error or complaint on one line; "" without one.
        place: Last line of the package in the traceback.
    """

    outcome: Outcome
    seconds: float = 0.0
    words: str = ""
    place: str = ""


class Bench:
    """A folder with the files of a format, of which one is damaged at a time.

    Args:
        name: Name of the format.
        folder: New folder, in a folder of its own.
        base: Folder with whole files, that are copied.
    """

    def __init__(self, name: str, folder: Path, base: Path) -> None:
        self.name, self.folder = name, folder
        self.format = FORMATS[name]
        shutil.copytree(base, folder)
        self.contents = {f: (folder / f).read_bytes() for f in self.format.damage}
        self.size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / "pipe")
        for secret in SECRETS:
            (folder.parent / secret).write_bytes(b"a secret" * 100)
        self.whole = digest(self.format.read(folder))

    def damaged(self, seed: int, index: int) -> tuple[str, bytes]:
        """Return which file is damaged by an input, and its content."""
        rng = Random(f"{self.name}/{seed}/{index}")
        file = rng.choice(sorted(self.contents))
        return file, self.format.damage[file](rng, self.contents[file])

    def test(self, seed: int, index: int, trace: bool = False) -> Report:
        """Damage a file, read, judge, and put the file back."""
        file, content = self.damaged(seed, index)
        path = self.folder / file
        path.write_bytes(content)
        try:
            return self._test(file, self.size + len(content), trace)
        finally:
            path.write_bytes(self.contents[file])

    def _test(self, file: str, size: int, trace: bool) -> Report:
        start = os.times().elapsed
        try:
            with limited(4 * size + MAX_MEMORY):
                result = self.format.read(self.folder)
        except BaseException as error:
            seconds = os.times().elapsed - start
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            if trace:
                traceback.print_exc()
            outcome = judge_error(error, self.folder, file)
            if outcome is Outcome.UNNAMED and not self.format.names_file:
                outcome = Outcome.REFUSED
            is_regular = outcome is Outcome.ELSEWHERE and Path(str(error)).is_file()
            if is_regular and self.format.opens_pictures:
                outcome = Outcome.REFUSED  # It would be, as it is no picture.
            words = f"{type(error).__name__}: {error!s:.300}"
            return Report(outcome, seconds, words, _place(error))
        seconds = os.times().elapsed - start
        if self.format.compare is not None:
            complaint = self.format.compare(self.folder, result)
            if complaint is not None:
                return Report(Outcome.SILENT, seconds, complaint[:300])
        is_same = digest(result) == self.whole
        return Report(Outcome.SAME if is_same else Outcome.OTHER, seconds)


@contextlib.contextmanager
def limited(num_bytes: int) -> Iterator[None]:
    """Let a block take so many bytes more than there are now, and some seconds."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def prepare_process(root: Path) -> None:
    """Set up what ends slow reads and shows opened files; it stays for the process."""

    def stop(*_: Any) -> None:
        raise SlowError(f"more than {MAX_SECONDS:.0f} s")

    forbidden = {"/etc/passwd", "/dev/zero"}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.normpath(os.fsdecode(arguments[0]))
            is_secret = path.startswith(str(root)) and path.endswith(SECRETS)
            if (path in forbidden or is_secret) and arguments[1] in ("r", "rb", None):
                raise ElsewhereError(path)

    signal.signal(signal.SIGALRM, stop)
    sys.addaudithook(watch)
    warnings.simplefilter("ignore")


def _place(error: BaseException) -> str:
    frames = [
        f"{frame.filename.partition('/keras_pg2/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/keras_pg2/" in frame.filename
    ]
    return frames[-1] if frames else ""
