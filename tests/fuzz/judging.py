"""What came of reading a damaged file, and what the format's own library says to it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import traceback
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np


class Outcome(StrEnum):
    """What can come of reading a file; those after `REFUSED` are faults."""

    SAME = "as before"
    OTHER = "other, as it says"
    REFUSED = "named error"
    RAW = "raw error"
    UNNAMED = "error without the file"
    HIDDEN = "control characters"
    SLOW = "hang"
    MEMORY = "memory"
    CRASHED = "crash"
    SILENT = "other in silence"
    ELSEWHERE = "another file"

    @property
    def is_fault(self) -> bool:
        return self not in (Outcome.SAME, Outcome.OTHER, Outcome.REFUSED)


class SlowError(BaseException):
    """Reading took too long; no reader catches this."""


class ElsewhereError(BaseException):
    """A reader opened a file that is none of its own."""


def judge_error(error: BaseException, folder: Path, file: str) -> Outcome:
    """Return what an error is to a user.

    Args:
        error: The error.
        folder: Folder of the files.
        file: The damaged file in it.
    """
    if isinstance(error, SlowError):
        return Outcome.SLOW
    if isinstance(error, ElsewhereError):
        return Outcome.ELSEWHERE
    if isinstance(error, MemoryError):
        return Outcome.MEMORY
    text = str(error)
    names = (str(folder), file, Path(file).name)
    names_file = any(name in text for name in names)
    if not (_is_raised_by_us(error) or _is_of_the_system(error)):
        return Outcome.RAW
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text):
        return Outcome.HIDDEN
    return Outcome.REFUSED if names_file else Outcome.UNNAMED


def _is_raised_by_us(error: BaseException) -> bool:
    if not isinstance(error, ValueError | OSError | TypeError | ImportError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or "/keras_pg2/" not in frames[-1].filename:
        return False
    return (frames[-1].line or "").startswith("raise ")


def _is_of_the_system(error: BaseException) -> bool:
    """Return whether it is as `open` says that a file is missing or is a folder."""
    return isinstance(error, OSError) and isinstance(error.filename, str)


def digest(value: Any) -> str:
    """Return a hash of nested values and arrays, NaN and -0.0 included."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, Mapping):
        for key in value:
            _add(found, key)
            _add(found, value[key])
    elif isinstance(value, list | tuple | set | frozenset):
        found.update(f"[{len(value)}".encode())
        for inside in value:
            _add(found, inside)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _add(found, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    else:
        found.update(repr(value).encode("utf-8", "surrogatepass"))


Arrays = Mapping[str, np.ndarray]


def differing(ours: Arrays, theirs: Arrays) -> str | None:
    """Return what of our arrays is not what the format's library reads, if anything."""
    for key, value in ours.items():
        if key not in theirs:
            return f"{key!r} is not in the file by its own library"
        if not _is_same(value, theirs[key]):
            return f"{key!r} has other numbers than its own library reads"
    return None


def _is_same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.shape != theirs.shape:
        return False
    if ours.dtype == theirs.dtype or theirs.dtype.kind == "V":
        return ours.tobytes() == theirs.tobytes()
    with np.errstate(all="ignore"):
        return np.array_equal(ours, theirs.astype(ours.dtype), equal_nan=True)


def is_close(first: Any, second: Any) -> bool:
    """Return whether two numbers of configurations are the same."""
    try:
        return first == second or math.isclose(first, second, rel_tol=1e-9)
    except (TypeError, OverflowError):
        return False
