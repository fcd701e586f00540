"""What holds an encoded picture, and getting at it.

A path or an address (`file:`, `http:`, `https:`, `data:`), the bytes of a picture file,
a file object, or a row of the library `datasets`, `{"bytes": ..., "path": ...}`.
"""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from keras_pg2.preprocessing.image_decoding import Decoded, decode_encoded
from keras_pg2.preprocessing.image_files import (
    check_image_file,
    is_data_address,
    is_path,
    permission_error,
    shortened,
    web_address,
)

MAX_DOWNLOAD_BYTES = 100 * 2**20
"""Bytes of a picture at an address of the web, at most."""
MAX_DOWNLOAD_SECONDS = 60
"""Seconds that its download may take."""
_SILENT_SECONDS = 10
_ROW_KEYS = {"bytes", "path"}
# One file object may be asked about in several threads.
_reading_files = threading.Lock()


class _Found(NamedTuple):
    """A file or its bytes, and what errors call the picture."""

    file: Path | bytes
    name: str


def is_source(value: Any) -> bool:
    """Return whether a value is one encoded picture, or says where it lies."""
    kinds = (str, bytes, bytearray, memoryview, os.PathLike)
    return isinstance(value, kinds) or hasattr(value, "read") or _is_row(value)


def source_name(value: Any) -> str | None:
    """Return the path or address of an encoded picture, None if it has none."""
    if _is_row(value):
        value = value.get("path")
    elif not is_path(value):
        value = getattr(value, "name", None)  # Of a file object that has one.
    if not is_path(value):
        return None
    text = os.fsdecode(value)
    return None if is_data_address(text) else web_address(text) or text


def name_in_messages(value: Any, name: str) -> str:
    """Return what errors call a picture: its path or address if it has one."""
    found = source_name(value)
    return name if found is None else shortened(found)


def check_source(value: Any) -> None:
    """Raise if the file of a picture is missing; nothing is read or downloaded.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as `check_image_file`.
    """
    if _is_row(value):
        value = value.get("path") if value.get("bytes") is None else None
    if is_path(value):
        text = os.fsdecode(value)
        if not (web_address(text) or is_data_address(text)):
            check_image_file(value)


def decode_source(
    value: Any, name: str = "image", size: tuple[int, int] | None = None
) -> Decoded:
    """Decode what `is_source` is true for.

    Args:
        value: An encoded picture.
        name: What errors call it if it has no path or address.
        size: (height, width) that the caller goes on to stretch it to, or None if the
            caller needs it whole; see `image_decoding`.

    Raises:
        FileNotFoundError, PermissionError: if a file is missing or may not be read.
        ConnectionError: if an address of the web gives no file.
        TypeError: if a file object was opened as text.
        ValueError: if there is no picture, it cannot be decoded, or is too large.
    """
    source, name = _find(value, name)
    if isinstance(source, bytes):
        return decode_encoded(io.BytesIO(source), name, size)
    try:
        with source.open("rb") as file:
            return decode_encoded(file, name, size)
    except PermissionError as error:  # Not all systems tell of it by os.access.
        raise permission_error(str(source)) from error


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and value.keys() <= _ROW_KEYS


def _find(value: Any, name: str) -> _Found:
    if _is_row(value):
        return _find_in_row(value, name)
    if isinstance(value, (bytearray, memoryview)) or not (
        is_path(value) or hasattr(value, "read")
    ):
        return _in_memory(bytes(value), name)
    if not is_path(value):
        return _in_memory(_read_file(value, name), name_in_messages(value, name))
    text = os.fsdecode(value)
    address = web_address(text)
    if address is not None:
        return _in_memory(download(address), repr(address))
    if is_data_address(text):
        return _in_memory(_content_of_address(text, name), f"{name} (a data: address)")
    path = check_image_file(value)
    return _Found(path, repr(str(path)))


def _find_in_row(row: Mapping[str, Any], name: str) -> _Found:
    content, path = row.get("bytes"), row.get("path")
    if content is None and path is None:
        raise ValueError(
            f"Expected {name} with its bytes or its path, received neither in "
            f"{dict(row)}. Leave the row out."
        )
    if content is None:
        return _find(path, name)
    return _in_memory(bytes(content), name_in_messages(row, name))


def _in_memory(content: bytes, name: str) -> _Found:
    if not content:
        raise ValueError(f"Expected {name} with the bytes of a picture, received none.")
    return _Found(content, name)


def _read_file(file: Any, name: str) -> bytes:
    """All of a file from its start; where it was read to before is kept."""
    try:
        with _reading_files:
            can_seek = getattr(file, "seekable", lambda: False)
            position = file.tell() if can_seek() else None
            if position is not None:
                file.seek(0)
            content = file.read()
            if position is not None:
                file.seek(position)
    except ValueError as error:  # "I/O operation on closed file"
        if not getattr(file, "closed", False):
            raise  # What makes a picture when it is read, and says why it cannot.
        raise ValueError(f"Expected {name} as an open file: {error}.") from error
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"Expected {name} as a file opened for bytes, received one of "
            f"{type(content).__name__}. Open it with mode 'rb'."
        )
    return bytes(content)


def _content_of_address(text: str, name: str) -> bytes:
    """The bytes in a `data:` address (RFC 2397)."""
    header, _, body = text.partition(",")
    content = unquote_to_bytes(body)
    if not header.lower().endswith(";base64"):
        return content
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except ValueError as error:
        raise ValueError(
            f"Expected {name} as a data: address in base64, received "
            f"{shortened(text)}: {error}."
        ) from error


def download(address: str) -> bytes:
    """Fetch a picture file of the web.

    Raises:
        ConnectionError: if the server cannot be reached, answers with an error, or is
            too slow.
        ValueError: if the file is too large.
    """
    # Not at the top: most never need it, and it takes long to import.
    import requests

    advice = "Check the address, or download the picture and pass its path."
    end = time.monotonic() + MAX_DOWNLOAD_SECONDS
    content = bytearray()
    try:
        with requests.get(
            address,
            timeout=_SILENT_SECONDS,
            stream=True,
            headers={"User-Agent": "keras_pg2"},
        ) as response:
            if not response.ok:
                raise ConnectionError(
                    f"Expected a picture at {shortened(address)}, but the server "
                    f"answers {response.status_code} {response.reason}. {advice}"
                )
            for part in response.iter_content(2**12):
                content += part
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise ValueError(
                        f"Expected a picture of at most {MAX_DOWNLOAD_BYTES:,} bytes "
                        f"at {shortened(address)}, which has more. Download it, and "
                        "pass its path."
                    )
                if time.monotonic() > end:
                    raise ConnectionError(
                        f"Expected a picture from {shortened(address)} within "
                        f"{MAX_DOWNLOAD_SECONDS} seconds, received {len(content):,} "
                        f"bytes by then. {advice}"
                    )
    except requests.RequestException as error:
        raise ConnectionError(
            f"Expected a picture at {shortened(address)}, but it cannot be fetched: "
            f"{error}. {advice}"
        ) from error
    return bytes(content)
