"""Whether the forms for a CPU are taken, or the plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
from keras import ops

from keras_pg2.typing import Tensor

_is_plain = ContextVar("is_plain", default=False)


def has_accelerator() -> bool:
    """Return whether Keras computes on something else than the CPU."""
    if keras.config.backend() == "torch":
        return ops.zeros(()).device.type != "cpu"
    return not keras.distribution.list_devices()[0].lower().startswith("cpu")


def is_used(x: Tensor | None = None) -> bool:
    """Return whether the forms for a CPU are taken.

    Args:
        x: Tensor they are for, as PyTorch's tensors may lie on any device; None asks
            for the device that Keras computes on.
    """
    if _is_plain.get():
        return False
    if x is not None and keras.config.backend() == "torch":
        return x.device.type == "cpu"
    return not has_accelerator()


@contextmanager
def plain_forms() -> Iterator[None]:
    """Take the plain forms inside the block, on a CPU too.

    They are chosen while a function is traced; what is compiled or recorded already
    stays as it is.
    """
    token = _is_plain.set(True)
    try:
        yield
    finally:
        _is_plain.reset(token)
