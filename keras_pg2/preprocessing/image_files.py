"""Picture files: what names one, whether it can be read, and decoding it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeGuard

from PIL import Image


def is_path(value: Any) -> TypeGuard[str | bytes | os.PathLike[str]]:
    """True for what names a file: `str`, `Path`, and the `bytes` of tf.data."""
    return isinstance(value, (str, bytes, os.PathLike))


def check_image_file(path: str | bytes | os.PathLike[str]) -> Path:
    """The path, once it is sure that a file lies there; a leading `~` is expanded.

    Raises:
        FileNotFoundError: if there is none.
        PermissionError: if it may not be read.
        ValueError: if it is a folder or a web address.
    """
    text = os.path.expanduser(os.fsdecode(path))
    if text.startswith(("http://", "https://")):
        raise ValueError(
            f"Expected the path of an image file, received the address {text!r}. "
            "Download the picture first, or pass a PIL image."
        )
    # os.path answers False where Path.is_file raises, as for a name too long.
    if os.path.isdir(text):
        raise ValueError(
            f"Expected an image file, but {text!r} is a folder. Pass the paths of "
            "the files in it."
        )
    if not os.path.isfile(text):
        if _is_forbidden(text):
            raise _permission_error(text)
        raise FileNotFoundError(
            f"Expected an image file, but {text!r} does not exist (working folder: "
            f"{os.getcwd()}). Check the spelling, or pass an absolute path."
        )
    if not os.access(text, os.R_OK):
        raise _permission_error(text)
    return Path(text)


def _is_forbidden(text: str) -> bool:
    """True if a folder on the way to the file may not be searched."""
    try:
        os.stat(text)
    except PermissionError:
        return True
    except (OSError, ValueError):
        pass
    return False


def _permission_error(text: str) -> PermissionError:
    return PermissionError(
        "Expected an image file that may be read, but permission is denied for "
        f"{text!r}. Change the rights of the file or of its folder."
    )


def read_image(path: str | bytes | os.PathLike[str]) -> Image.Image:
    """Decode an image file wholly, so that a broken file fails here.

    Raises:
        FileNotFoundError: if there is no such file.
        PermissionError: if it may not be read.
        ValueError: if Pillow cannot decode it.
    """
    found = check_image_file(path)
    try:
        with Image.open(found) as image:
            image.load()
            return image
    except PermissionError as error:  # Not all systems tell of it by os.access.
        raise _permission_error(str(found)) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"Expected an image that Pillow can read, but {str(found)!r} "
            f"({found.stat().st_size} bytes) is not one or is damaged: {error}. "
            "Open it in a viewer, and save it again as PNG or JPEG."
        ) from error
