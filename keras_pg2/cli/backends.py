"""Choosing the backend of Keras before Keras is imported."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from importlib.util import find_spec


class Backend(StrEnum):
    """Backends by the names of their packages; the first installed is the default."""

    JAX = "jax"
    TORCH = "torch"
    TENSORFLOW = "tensorflow"


def use_backend(wanted: Backend | None) -> Backend:
    """Makes Keras use a backend.

    Args:
        wanted: None for the one Keras runs on already, else the one KERAS_BACKEND
            names, else the first that is installed.

    Raises:
        ValueError: for an unknown name in KERAS_BACKEND, or when Keras was imported
            before on another backend.
        ImportError: when the backend, or any backend, is not installed.
    """
    running = _running()
    backend = wanted or running or _from_environment() or _first_installed()
    if find_spec(backend) is None:
        raise ImportError(
            f"Expected the package {backend!s} for the backend of that name, which is "
            f"not installed. Run: pip install {backend!s}"
        )
    if running not in (None, backend):
        raise ValueError(
            f"Expected to choose the backend before Keras starts, but it runs on "
            f"{running!s} already. Received: {backend!s}. Set KERAS_BACKEND="
            f"{backend!s} in the environment instead."
        )
    os.environ["KERAS_BACKEND"] = backend.value
    return backend


def _from_environment() -> Backend | None:
    name = os.environ.get("KERAS_BACKEND")
    if not name:
        return None
    if name not in list(Backend):
        raise ValueError(
            "Expected KERAS_BACKEND to be one of "
            f"{', '.join(Backend)}. Received: {name!r}. Change or unset it."
        )
    return Backend(name)


def _first_installed() -> Backend:
    for backend in Backend:
        if find_spec(backend) is not None:
            return backend
    raise ImportError(
        "Expected a backend for Keras, found none of "
        f"{', '.join(Backend)}. Run: pip install jax"
    )


def _running() -> Backend | None:
    """The backend that Keras was imported with; None if it was not."""
    if "keras" not in sys.modules:
        return None
    import keras

    return Backend(keras.config.backend())
