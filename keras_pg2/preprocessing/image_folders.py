"""Folders of pictures: which files in them can be decoded, and which are left out."""

from __future__ import annotations

import mimetypes
import warnings
from collections import Counter
from pathlib import Path

from PIL import Image

from keras_pg2.checks.texts import printable
from keras_pg2.preprocessing.image_decoding import register_heif

HEIF_ENDINGS = (".heic", ".heif", ".hif")
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Kinds that Pillow knows by name and leaves to other programs to decode."""
_HALF_OF_A_MAC_FILE = "._*"
"""What macOS writes beside each file on disks and in archives of other systems."""


def list_pictures(folder: Path) -> list[Path]:
    """Files in a folder and its folders that are pictures by their names, sorted.

    What a picture is called but cannot be decoded (`._*` files of macOS, PDF, films,
    camera raw files, HEIC without pillow-heif) is left out, with one warning that
    counts it. A damaged picture is listed: it is told of when it is read.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there is no picture in it.
    """
    if folder.is_file():
        raise ValueError(
            f"Expected a folder of pictures, received the file {str(folder)!r}. Pass "
            "it in a list."
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of pictures: no {str(folder)!r}.")
    endings = decoded_endings()
    paths = []
    left_out = Counter[str]()
    for path in sorted(folder.rglob("*")):
        ending = path.suffix.lower()
        is_listed = ending in endings and not path.name.startswith("._")
        if not (is_listed or _looks_like_one(path)) or not path.is_file():
            continue
        if is_listed:
            paths.append(path)
        else:
            is_half = path.name.startswith("._")
            left_out[_HALF_OF_A_MAC_FILE if is_half else ending] += 1
    summary = _summary(left_out)
    if not paths:
        raise ValueError(
            f"Expected pictures in the folder {str(folder)!r}, found no file whose "
            f"name ends like one (.jpg, .png, ...). {summary}".rstrip()
        )
    if left_out:
        warnings.warn(
            f"Expected pictures in the folder {str(folder)!r}: {summary}", stacklevel=2
        )
    return paths


def decoded_endings() -> set[str]:
    """Return the endings of names of files that Pillow decodes here, in lower case."""
    register_heif()
    endings = Image.registered_extensions()  # Loads all that Pillow has.
    # JPEG's decoder reads MPO; other kinds without a decoder are written only.
    decoded = ({*Image.OPEN} | {"MPO"}) - _NOT_DECODED
    return {ending for ending, kind in endings.items() if kind in decoded}


def _looks_like_one(path: Path) -> bool:
    ending = path.suffix.lower()
    kind, _ = mimetypes.guess_type(path.name)
    return (
        ending in Image.registered_extensions()
        or ending in HEIF_ENDINGS
        or (kind or "").startswith(("image/", "video/"))
    )


def _summary(left_out: Counter[str]) -> str:
    if not left_out:
        return ""
    found = left_out.most_common()
    kinds = ", ".join(f"{count} {printable(ending)}" for ending, count in found)
    advice = ""
    if any(ending in left_out for ending in HEIF_ENDINGS):
        advice = " For HEIC run: pip install pillow-heif."
    return (
        f"left out {left_out.total()} files that cannot be read as pictures: {kinds}."
        f"{advice}"
    )
