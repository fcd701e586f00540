"""The safetensors files of a directory as one source of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FLOAT_TYPES = ("F32", "BF16", "F16")


class SafetensorsSource:
    """Tensors of one file or of all shards; headers are read, tensors are not.

    Args:
        directory: holds `model.safetensors`, or shards and their index.

    Raises:
        FileNotFoundError: when there are no weights, or a shard is missing.
        ValueError: when a file is cut off or no safetensors file, or two files
            hold the same tensor.
    """

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, Any] = {}
        for path in weight_files(directory):
            file = _open(path)
            for key in file.keys():  # noqa: SIM118 (the file is no mapping)
                if key in self._files:
                    raise ValueError(
                        f"Expected each tensor in one file of {directory}, but "
                        f"{key!r} is in two. Remove weights of another download."
                    )
                self._files[key] = file

    def keys(self) -> Iterable[str]:
        return self._files.keys()

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._files[key].get_slice(key).get_shape())

    def dtype(self, key: str) -> str:
        """safetensors' name of a tensor's type, such as "BF16"."""
        return self._files[key].get_slice(key).get_dtype()

    def read(self, key: str, rows: slice = slice(None)) -> np.ndarray:
        """A tensor, or some of its rows, in the file's own type."""
        return self._files[key].get_slice(key)[rows]


def weight_files(directory: Path) -> list[Path]:
    """Paths of the weights of a directory, all of them present.

    Raises:
        FileNotFoundError: when there are none, or shards of the index are missing.
    """
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    if not index.exists():
        if single.exists():
            return [single]
        other = sorted(p.name for p in directory.glob("*.bin"))
        raise FileNotFoundError(
            f"Expected {SINGLE_FILE} or {INDEX_FILE} in {directory}, found neither. "
            + (f"Save {', '.join(other)} as safetensors first." if other else "")
        )
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in names if not (directory / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected the {len(names)} weight files that {INDEX_FILE} lists in "
            f"{directory}, but {len(missing)} of them are missing: "
            f"{', '.join(missing)}. Download them again."
        )
    return [directory / name for name in names]


def _open(path: Path) -> safe_open:
    """Opens a file, which also checks its header against its size."""
    with path.open("rb") as file:
        if file.read(20).startswith(b"version https://git"):
            raise ValueError(
                f"Expected weights in {path}, found a Git LFS pointer to them. Run "
                "`git lfs pull` in the repository."
            )
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        size = path.stat().st_size
        raise ValueError(
            f"Expected a complete safetensors file, but {path} ({size} bytes) is cut "
            f"off or is none. Download it again. ({error})"
        ) from error
