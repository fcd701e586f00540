"""Copies of exported directories in which something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def copy_with_cut(directory: Path, target: Path, name: str, share: float) -> Path:
    """A copy in which a file ends after a share of its bytes."""
    path = shutil.copytree(directory, target) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return target


def copy_without(directory: Path, target: Path, manifest: str, *keys: str) -> Path:
    """A copy whose manifest lacks some keys, or, of "files/x", some files."""
    path = shutil.copytree(directory, target) / manifest
    content = json.loads(path.read_text())
    for key in keys:
        *within, name = key.split("/")
        del (content[within[0]] if within else content)[name]
    path.write_text(json.dumps(content))
    return target
