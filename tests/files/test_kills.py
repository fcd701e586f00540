"""Killed at any moment, whatever writes leaves nothing lost, doubled or torn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_pg2

NUM_KILLS = int(os.environ.get("KERAS_PG2_KILLS", "8"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_nothing_is_lost_doubled_torn_or_left_behind():
    root = str(Path(keras_pg2.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kills", "--kills", str(NUM_KILLS)],
        env={**os.environ, "PYTHONPATH": root, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-8000:]
    assert f"| all | | | {NUM_KILLS} |" in done.stdout
