"""Paths of picture files: what is one, and whether the file can be read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit
from urllib.request import url2pathname

from PIL import Image

from keras_pg2.preprocessing.image_decoding import load, open_encoded

# pathlib makes one slash of two.
_WEB = re.compile(r"(https?):/{1,2}(?=[^/])", re.IGNORECASE)
_DATA = re.compile(r"data:[^,]*,", re.IGNORECASE)
_FILE = re.compile(r"file:", re.IGNORECASE)
_OTHER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff")
"""Of PNG and JPEG; texts do not begin so, even where the rest is cut off."""
_LONGEST_PATH = 4096
"""Bytes; PATH_MAX of Linux, and more than other systems allow."""


def is_path(value: Any) -> TypeGuard[str | bytes | os.PathLike[str]]:
    """True for what names a file or an address: `str`, `Path`, `bytes` of tf.data."""
    if isinstance(value, bytes):
        return not is_content(value)
    return isinstance(value, (str, os.PathLike))


def is_content(data: bytes) -> bool:
    """True for the bytes of a file, rather than its path in bytes.

    A path has no byte 0, no line break in practice, and is short. All kinds of picture
    files have one or the other, nearly always in the signature or the header.
    """
    if data[:5].lower() == b"data:":
        return False
    if data.startswith(_SIGNATURES) or len(data) > _LONGEST_PATH:
        return True
    return b"\0" in data or b"\n" in data


def web_address(text: str) -> str | None:
    """Return an address of http or https with both its slashes, None for others."""
    found = _WEB.match(text)
    return None if found is None else f"{found[1].lower()}://{text[found.end() :]}"


def is_data_address(text: str) -> bool:
    """Return whether a text is a `data:` address, which holds the picture itself."""
    return _DATA.match(text) is not None


def is_address(text: str) -> bool:
    """Return whether a text is an address of any kind, `file:` too, and no path."""
    kinds = (_WEB, _DATA, _FILE, _OTHER)
    return any(kind.match(text) for kind in kinds)


def check_image_file(path: str | bytes | os.PathLike[str]) -> Path:
    """The path, once it is sure that a file lies there; a leading `~` is expanded.

    Args:
        path: A path, or an address that begins with `file:`.

    Raises:
        FileNotFoundError: if there is none.
        PermissionError: if it may not be read.
        ValueError: if it is a folder, a pipe, a device or a web address.
    """
    text = os.fsdecode(path)
    if _FILE.match(text):
        text = _path_of_address(text)
    elif is_address(text):
        raise ValueError(
            "Expected the path of an image file, received the address "
            f"{shortened(text)}. Download the picture first, or pass a PIL image."
        )
    else:
        text = os.path.expanduser(text)
    # os.path answers False where Path.is_file raises, as for a name too long.
    if os.path.isdir(text):
        raise ValueError(
            f"Expected an image file, but {text!r} is a folder. Pass the paths of "
            "the files in it."
        )
    if os.path.exists(text) and not os.path.isfile(text):
        raise ValueError(
            f"Expected an image file, but {shortened(text)} is {_kind(text)}. Write "
            "what comes out of it to a file, or pass its bytes."
        )
    if not os.path.isfile(text):
        if _is_forbidden(text):
            raise permission_error(text)
        advice = "Check the spelling, or pass an absolute path."
        if len(text) > _LONGEST_PATH:
            advice = (
                "If it is a picture in base64, put 'data:image/png;base64,' before it."
            )
        raise FileNotFoundError(
            f"Expected an image file, but {shortened(text)} does not exist (working "
            f"folder: {os.getcwd()}). {advice}"
        )
    if not os.access(text, os.R_OK):
        raise permission_error(text)
    return Path(text)


def _kind(path: str) -> str:
    """Return what something is called that is neither a file nor a folder."""
    mode = os.stat(path).st_mode
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def shortened(text: str) -> str:
    """Return a text in quotes, without the middle of one that fills a screen."""
    return repr(text if len(text) <= 300 else f"{text[:100]}...{text[-100:]}")


def _path_of_address(text: str) -> str:
    address = urlsplit(text)
    if address.netloc not in ("", "localhost"):
        raise ValueError(
            f"Expected the address of a file of this machine (file:///...), received "
            f"{shortened(text)}. Pass its path."
        )
    return url2pathname(address.path)


def _is_forbidden(text: str) -> bool:
    """True if a folder on the way to the file may not be searched."""
    try:
        os.stat(text)
    except PermissionError:
        return True
    except (OSError, ValueError):
        pass
    return False


def permission_error(text: str) -> PermissionError:
    """Return what is raised about a file that may not be read."""
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
    name = repr(str(found))
    try:
        with found.open("rb") as file:
            image = open_encoded(file, name)
            load(image, name, found.stat().st_size)
            return image
    except PermissionError as error:  # Not all systems tell of it by os.access.
        raise permission_error(str(found)) from error
