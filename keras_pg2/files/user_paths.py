"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with the user's folder in place of `~`.

    `Path.expanduser` raises RuntimeError for a user without a folder, such as a number
    in a container. Here the `~` stays, so that the path is told as one that is not
    there.
    """
    return Path(os.path.expanduser(path))
