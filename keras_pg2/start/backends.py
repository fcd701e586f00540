"""The backend of Keras: which one, chosen before Keras is imported.

One rule in Python and in the command: the backend that Keras runs on already; else the
one that `KERAS_BACKEND` names; else JAX or PyTorch, if Keras' own configuration file
names it; else the first that is installed of JAX, PyTorch and TensorFlow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path


class Backend(StrEnum):
    """Backends by the names of their packages; the first installed is the default."""

    JAX = "jax"
    TORCH = "torch"
    TENSORFLOW = "tensorflow"


def use_backend(wanted: Backend | None) -> Backend:
    """Make Keras use a backend.

    Args:
        wanted: Backend to use; None for the default.

    Raises:
        ValueError: if KERAS_BACKEND names no backend, or Keras was imported before on
            another one.
        ImportError: if the backend, or any backend, is not installed.
    """
    running = running_backend()
    backend = wanted or running or _from_environment() or _default()
    if backend is None:
        raise ImportError(
            "Expected a backend for Keras, found none of "
            f"{', '.join(Backend)}. Run: pip install jax"
        )
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


def set_default_backend() -> None:
    """Set KERAS_BACKEND where nothing has chosen a backend yet.

    Keras' own default is TensorFlow, also where only another backend was asked for: it
    comes along with KerasHub.
    """
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND"):
        return
    backend = _default()
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend.value


@contextmanager
def explained_imports() -> Iterator[None]:
    """Say what to install where an import inside lacks Keras or a backend.

    Raises:
        ValueError: if KERAS_BACKEND names no backend.
        ModuleNotFoundError: if a package is missing.
        ImportError: if it is the backend.
        OSError: if the user has no home, which KerasHub's downloader asks for.
    """
    if "keras" not in sys.modules:
        _from_environment()
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name in ("keras", "keras_hub"):
            package = error.name.replace("_", "-")
            raise ModuleNotFoundError(
                f"Expected the package {package}, which is not installed. Run: "
                f"pip install {package}",
                name=error.name,
            ) from error
        if str(error.name).partition(".")[0] in list(Backend):
            use_backend(None)  # Says what to install.
        raise
    except RuntimeError as error:
        raise_without_home(error)
        raise


def raise_without_home(error: Exception) -> None:
    """Say what to do about a user who has no home, as numbers in containers have none.

    Args:
        error: Of another library; nothing is raised if it is about something else.

    Raises:
        OSError: if it is that of `Path.home` and `Path.expanduser`.
    """
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        raise OSError(
            "Expected a home directory, where downloads are kept. Received: a user "
            "without one. Set the environment variable HOME to a folder that can be "
            "written."
        ) from error


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


def _default() -> Backend | None:
    """Return the backend that a user configured, or the first installed.

    Keras writes "tensorflow" into its file when it is first imported, whatever the
    user wants: there it says nothing.
    """
    home = os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras"))
    try:
        configured = json.loads(Path(home, "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        configured = None
    if configured in (Backend.JAX, Backend.TORCH):
        return Backend(configured)
    return next((backend for backend in Backend if find_spec(backend)), None)


def running_backend() -> Backend | None:
    """Return the backend that Keras was imported with; None if it was not."""
    keras = sys.modules.get("keras")
    return None if keras is None else Backend(keras.config.backend())
