"""Oracles that are no packages: files of repositories that were cloned by the user."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

DIRECTORY: str | None = None
"""Where the clones are; None for nowhere."""


def read_source(path: str) -> str:
    """Return a file of a clone.

    Raises:
        FileNotFoundError: if it is not there.
    """
    if DIRECTORY is None:
        raise FileNotFoundError(f"{path} (name a directory with --sources)")
    file = Path(DIRECTORY).expanduser() / path
    if not file.is_file():
        raise FileNotFoundError(str(file))
    return file.read_text()


def load_source(
    path: str, stand_ins: Mapping[str, ModuleType], source: str | None = None
) -> ModuleType:
    """Return a file of a clone as a module.

    Args:
        path: File in the directory of clones.
        stand_ins: Modules by the names that it imports, in place of large ones.
        source: Its text where it is not as in the file.

    Raises:
        FileNotFoundError: if it is not there.
    """
    code = compile(read_source(path) if source is None else source, path, "exec")
    module = ModuleType(Path(path).stem)
    with _imported(stand_ins):
        exec(code, module.__dict__)
    return module


@contextmanager
def _imported(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
