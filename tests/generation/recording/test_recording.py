"""The switch of recording: off, the layers run as they are."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_pg2.generation.compilation import compile_function
from keras_pg2.generation.decoding import Plan, Request, generate_tokens
from keras_pg2.generation.recording import recording, set_recording
from keras_pg2.generation.samplers import Sampler
from keras_pg2.modeling.backbone import with_image_axis
from tests.support.tiny_networks import random_backbone, random_inputs


@pytest.fixture
def recorded_functions(monkeypatch):
    """Names of the functions that are recorded, each by its first call."""
    names = []
    record = recording._record

    def counting(function, *arguments):
        names.append(function.__name__)
        return record(function, *arguments)

    monkeypatch.setattr(recording, "_record", counting)
    monkeypatch.setattr(recording, "CALLS_BEFORE_RECORDING", 0)
    yield names
    set_recording(True)


def test_off_records_nothing_and_gives_the_same_tokens(recorded_functions):
    backbone = random_backbone()
    request = Request(
        with_image_axis(random_inputs([3, 6])),
        np.zeros((2, 8), "float32"),
        np.array([8, 8], "int32"),
        np.array([], "int32"),
        Sampler().parameters,
        None,
        np.zeros(2, "int32"),
    )
    plan = Plan(Sampler())
    run = compile_function(functools.partial(generate_tokens, backbone, plan), backbone)
    set_recording(False)
    expected = ops.convert_to_numpy(run(request).tokens)
    assert not recorded_functions
    set_recording(True)
    for _ in range(2):
        tokens = ops.convert_to_numpy(run(request).tokens)
        np.testing.assert_array_equal(tokens, expected)
    is_torch = keras.config.backend() == "torch"
    names = ["_embed_rows", "_prefill_rows", "decode_step"] if is_torch else []
    assert recorded_functions == names
    set_recording(False)
    np.testing.assert_array_equal(ops.convert_to_numpy(run(request).tokens), expected)
    assert recorded_functions == names


def test_the_environment_turns_it_off():
    code = (
        "from keras_pg2.generation.recording import recording; print(recording._is_on)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_PG2_RECORDING": "0", "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "False"
    assert recording._is_on
