"""The comparison of training with other packages, on a tiny network."""

from __future__ import annotations

import argparse

import keras
import numpy as np
import pytest

from benchmarks import train
from benchmarks.full_size import write_checkpoint
from benchmarks.sides import SHAPES
from benchmarks.training_sides import write_factors

pytestmark = [
    # peft 0.21 asks transformers 5.23 by an old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def test_lora_trains_as_in_peft(tmp_path, capsys):
    ours, theirs = f"keras_pg2:{keras.config.backend()}", "transformers:torch"
    write_checkpoint(tmp_path / "checkpoint", SHAPES["tiny"], "float32")
    write_factors(tmp_path / "peft", SHAPES["tiny"])
    args = argparse.Namespace(
        shape="tiny",
        batch_size=2,
        text_length=8,
        num_responses=4,
        steps=4,
        directory=tmp_path,
    )
    figures = {side: train.measure_side(side, "lora", args) for side in (ours, theirs)}
    losses = [np.array(figures[side]["losses"]) for side in (ours, theirs)]
    assert len(losses[0]) == 4
    assert np.all(np.diff(losses[0]) < 0)
    # transformers' vocabulary has 64 rows more.
    np.testing.assert_allclose(*losses, rtol=5e-5)
    train.print_table("lora", {**figures, "nobody:jax": {"error": "no such package"}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(theirs)
    assert lines[-2].endswith("4 of 4 the same")
    assert lines[-1].endswith("fails: no such package")
