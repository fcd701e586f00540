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
