"""Registering the package's classes with Keras, which may be imported later.

`keras.saving.load_model` and `keras_hub.models.CausalLM.from_preset` find classes that
are registered, and importing a package is how one expects to register them. But to
import Keras here would fix its backend before a command has chosen one, and would fail
on a device that only runs exported files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from keras_pg2.start.garbage_collection import paused_collection

CLASSES = "keras_pg2.tasks.causal_lm"
"""Module that imports, and so registers, every class of the package."""


def register_when_keras_is_imported() -> None:
    """Register the package's classes, now or as soon as Keras is imported."""
    register_classes()
    sys.meta_path.insert(0, _KerasFinder())


def register_classes(ready: str = "keras") -> None:
    """Import the classes, if Keras is there and nothing they need is half imported.

    Args:
        ready: Package that has just been imported.
    """
    if "keras" not in sys.modules or any(
        getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
        if name == "keras_hub" != ready or name.startswith("keras_pg2.")
    ):
        return
    try:
        with paused_collection():
            import_module(CLASSES)
    except ModuleNotFoundError:
        pass  # The first name that is used says what is missing.


class _KerasFinder(MetaPathFinder):
    """Finds Keras and KerasHub as others do, with a loader that registers after it."""

    def __init__(self) -> None:
        self._awaited = {"keras", "keras_hub"}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in self._awaited:
            return None
        self._awaited.remove(fullname)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    """Loads a module by its own loader, then registers the package's classes."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        register_classes(module.__name__)
