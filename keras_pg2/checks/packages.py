"""Optional packages, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def import_packages(*names: str, advice: str) -> list[ModuleType]:
    """Import modules of packages that need not be installed.

    Args:
        *names: Full names of the modules.
        advice: What to install, at the end of the error's message.

    Raises:
        ImportError: if a package is missing, or is there and cannot be imported.
    """
    modules = []
    for name in names:
        try:
            modules.append(import_module(name))
        except ModuleNotFoundError as error:
            package = str(error.name or name).partition(".")[0]
            raise ImportError(
                f"Expected the package {package}, which is not installed. {advice}"
            ) from error
        except ImportError as error:
            raise ImportError(
                f"Expected the package {name.partition('.')[0]} to be usable, received "
                f"an error when it is imported: {error}. Install it again."
            ) from error
    return modules
