"""Two thousand damaged files over all formats, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutations import change_bytes, change_json, change_text

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_every_damaged_file_is_read_or_refused_by_name() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--count", "2000", "--seed", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "0 faults" in done.stdout


@pytest.mark.parametrize("change", [change_bytes, change_json, change_text])
def test_a_seed_gives_the_same_files(change) -> None:
    content = json.dumps({"a": [1, 2, {"b": "text"}], "c": None}).encode()
    first, second = ([change(Random(i), content) for i in range(300)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 100
