"""Functions of a network that PyTorch replays without Keras' Python.

Keras' layers take about 2 ms of Python a decoder block there, which is more than the
arithmetic of a token. So the operations of a call are recorded as a graph (`torch.fx`),
with the weights by reference; the graph is tidied; and from then on it is called. On
JAX and TensorFlow, which compile, a function stays as it is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import keras
import optree

from keras_pg2.generation.recording.graph_tidying import tidy
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.typing import Tensor

CALLS_BEFORE_RECORDING = 32
"""Recording takes as long as some 50 calls gain; a short answer goes without."""
_is_on = os.environ.get("KERAS_PG2_RECORDING") != "0"
_is_at_once = ContextVar("is_at_once", default=False)
_recording = Lock()
"""One thread at a time: `torch.fx` changes `torch.nn.Module` while it records."""


def set_recording(is_on: bool) -> None:
    """Turn recording and replaying on or off, for all models of the process.

    It is on at first, unless the environment variable KERAS_PG2_RECORDING is "0". Off,
    every call runs the layers as they are: slower, and with their forward hooks.
    """
    global _is_on
    _is_on = is_on


@contextmanager
def recording_at_once() -> Iterator[None]:
    """Record a function that is `recorded` by its first call inside the block."""
    token = _is_at_once.set(True)
    try:
        yield
    finally:
        _is_at_once.reset(token)


def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the backbone and tensors that PyTorch replays.

    It is recorded after some calls with the same shapes, or inside
    `recording_at_once`. It must change no tensor but its arguments, and draw nothing.
    A replay calls no forward hooks of layers.
    """

    def run(backbone: PaliGemma2Backbone, *arguments: Any) -> Any:
        if not _is_replaying():
            return function(backbone, *arguments)
        known = _recordings.setdefault(backbone, _Recordings(Counter(), {}))
        # Not by `keras.tree`, which takes 0.2 ms a call on PyTorch.
        tensors = optree.tree_leaves(cast(Any, arguments))
        shapes = tuple((each.shape, each.dtype, each.device) for each in tensors)
        key = (function, shapes)
        if key not in known.graphs:
            known.counts[key] += 1
            is_early = known.counts[key] <= CALLS_BEFORE_RECORDING
            if is_early and not _is_at_once.get():
                return function(backbone, *arguments)
            with _recording:
                if key not in known.graphs:
                    known.graphs[key] = _record(function, backbone, arguments)
        return known.graphs[key](tensors)

    return run


def _is_replaying() -> bool:
    """Only PyTorch does; what has gradients, or casts by itself, runs as it is."""
    if not _is_on or keras.config.backend() != "torch":
        return False
    import torch

    casts = any(map(torch.is_autocast_enabled, ("cpu", "cuda")))
    return not (casts or torch.is_grad_enabled())


def forget_recordings(backbone: PaliGemma2Backbone) -> None:
    """Records anew, as variables of the backbone were replaced or moved."""
    _recordings.pop(backbone, None)


class _Recordings(NamedTuple):
    """Calls and graphs of one backbone, by function and shapes of the arguments."""

    counts: Counter
    graphs: dict[tuple, Callable[[list], Any]]


_recordings: WeakKeyDictionary[PaliGemma2Backbone, _Recordings] = WeakKeyDictionary()


def _record(
    function: Callable[..., Any], backbone: PaliGemma2Backbone, arguments: Any
) -> Callable[[list], Any]:
    """The operations of a call, as a function of the tensors in its arguments."""
    from torch.fx.experimental.proxy_tensor import make_fx

    tensors, given = optree.tree_flatten(arguments)
    structure: Any = None

    def flat(*tensors: Tensor) -> list:
        nonlocal structure
        results = function(backbone, *optree.tree_unflatten(given, tensors))
        leaves, structure = optree.tree_flatten(results)
        return leaves

    # Without numbers, in half of the time; only the weights have theirs.
    recorder = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)
    graph = recorder(*tensors)
    tidy(graph)

    def replay(tensors: list) -> Any:
        return optree.tree_unflatten(structure, graph(*tensors))

    return replay
