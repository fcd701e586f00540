"""From file to file no Keras is imported, nor a backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keras_pg2.conversion.from_model import write_model
from tests.support.keras_hub_copy import copy_to_keras_hub
from tests.support.tiny_models import random_task

SCRIPT = """
import sys
sys.argv[0] = "keras-pg2"  # Under another name the package imports Keras at once.
from keras_pg2.conversion import convert, open_checkpoint
source, target, to = sys.argv[1:]
open_checkpoint(source)
convert(source, target, to)
heavy = {"keras", "keras_hub", "jax", "tensorflow", "torch"} & set(sys.modules)
assert not heavy, heavy
"""
TARGETS = {"hf": "t", "npz": "t.npz", "sbs": "t.sbs"}


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("hf", "npz"),
        ("npz", "sbs"),
        ("sbs", "hf"),
        ("preset", "hf"),
        ("keras_hub", "npz"),
    ],
)
def test_without_keras(source: str, to: str, tmp_path: Path) -> None:
    path = tmp_path / {**TARGETS, "npz": "m.npz", "sbs": "m.sbs"}.get(source, "m")
    if source == "keras_hub":
        copy_to_keras_hub(random_task().backbone).save_to_preset(str(path))
    else:
        write_model(random_task(), path, source)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, path, tmp_path / TARGETS[to], to], check=True
    )
