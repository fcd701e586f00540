"""Public names that are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable

import lazy_loader

from keras_pg2.start.backends import explained_imports
from keras_pg2.start.garbage_collection import paused_collection
from keras_pg2.start.registration import register_classes


def attach(
    package: str, file: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package.

    Its names are those that the stub beside it imports, which is what type checkers
    read too.

    Args:
        package: `__name__` of the package.
        file: Its `__file__`.
    """
    find, _, names = lazy_loader.attach_stub(package, file)

    def find_or_explain(name: str) -> object:
        if name not in names:  # Such as a module, which Python then imports.
            return find(name)
        with explained_imports(), paused_collection():
            found = find(name)
        register_classes()  # Of all of them, whichever was asked for.
        return found

    return find_or_explain, lambda: list(names), names
