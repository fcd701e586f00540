"""Python's search for garbage, spared where next to nothing is thrown away.

The search looks at every object there is, again and again as objects are made. With
Keras, a backend and its friends imported these are a million.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Nothing is searched inside, but where `gc.collect` is called.

    Imports and traces make objects by the hundred thousand that stay: the search was
    a quarter of the time that `import keras_pg2` takes, and a fifth of that to the
    first token of a process that finds its compiled code on disk.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """What is there is left to be, wherever garbage is collected inside.

    Keras does after each layer that it quantises, for most of a second each time.
    """
    was_frozen = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        # What the caller had frozen cannot be told apart, and stays so.
        if not was_frozen:
            gc.unfreeze()


def search_less_often() -> None:
    """For a process of one task, which makes most of its objects when it starts."""
    gc.set_threshold(100_000, 20, 100)
