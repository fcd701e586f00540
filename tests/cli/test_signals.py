"""Signals that end a command: at once, but in order."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_pg2.cli import signals
from keras_pg2.files import whole_files

SCRIPT = f"""
import pathlib, runpy, signal, sys, time
if sys.argv[2:]:
    signal.signal(int(sys.argv[2]), signal.SIG_IGN)
runpy.run_path({signals.__file__!r})["end_in_order"]()
replaced = runpy.run_path({whole_files.__file__!r})["replaced"]
with replaced(pathlib.Path(sys.argv[1])) as part:
    part.write_text("half")
    print("here", flush=True)
    time.sleep(2 if sys.argv[2:] else 60)
    part.write_text("whole")
"""


IN_A_DESTRUCTOR = f"""
import runpy, signal, sys, time
runpy.run_path({signals.__file__!r})["end_in_order"]()

class Last:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        sys.exit("the signal is lost")

last = Last()
del last
try:
    time.sleep(60)
finally:
    print("in order")
"""


def start(target: Path, *ignored: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(target), *ignored]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.stdout.close()
    return process


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_half_written_is_removed(kind: signal.Signals, tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    process = start(target)
    begin = time.monotonic()
    process.send_signal(kind)
    assert process.wait() == 128 + kind
    assert time.monotonic() - begin < 30
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_a_signal_amid_a_destructor_ends_the_process_too():
    command = [sys.executable, "-c", IN_A_DESTRUCTOR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 128 + signal.SIGTERM
    assert (done.stdout, done.stderr) == ("in order\n", "")


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path):
    process = start(tmp_path / "a.txt", str(int(signal.SIGHUP)))
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert (tmp_path / "a.txt").read_text() == "whole"
