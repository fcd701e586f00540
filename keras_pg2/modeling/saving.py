"""Whether a preset is being saved, which holds less than other files do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_saving_preset: ContextVar[bool] = ContextVar("is_saving_preset", default=False)


@contextmanager
def saving_preset() -> Iterator[None]:
    """Have layers and models inside the block saved as a preset holds them.

    LoRA is merged into the kernels, and how a model was trained is left out: what reads
    a preset, KerasHub for one, knows neither. A layer is not told by Keras what file it
    is written to.
    """
    token = _is_saving_preset.set(True)
    try:
        yield
    finally:
        _is_saving_preset.reset(token)


def is_saving_preset() -> bool:
    """Return whether this is inside a block of `saving_preset`."""
    return _is_saving_preset.get()
