"""Reading what is in the directory of an exported model; broken files are named.

Needs no Keras.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

VOCABULARY = "vocabulary.spm"
KEYS = (
    "files",
    "quantization",
    "cache_length",
    "image_size",
    "interpolation",
    "antialias",
    "separator",
    "separator_ids",
    "start_token_ids",
    "end_token_id",
    "special_token_ids",
)
"""Of every manifest; formats have some more."""
ADVICE = "Copy the whole directory again, or export the model again."


def read_manifest(
    directory: Path, name: str, exporter: str, keys: Sequence[str]
) -> dict[str, Any]:
    """What describes an exported model, all of whose files are there.

    Args:
        directory: what was written.
        name: of the manifest.
        exporter: the function that writes such directories, for messages.
        keys: that it has beside `KEYS`.

    Raises:
        FileNotFoundError: when it or a file that it names is missing.
        ValueError: when it cannot be read, or lacks something.
    """
    path = directory / name
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a directory that {exporter} wrote, with {name} in it. "
            f"Received: {str(directory)!r}, where there is none."
        )
    try:
        manifest = json.loads(path.read_text("utf-8"))
        files = sorted({VOCABULARY, *manifest["files"].values()})
        missing = [file for file in files if not (directory / file).is_file()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Expected {path} to be as {exporter} wrote it, but it cannot be read "
            f"({error!r}). {ADVICE}"
        ) from error
    if missing:
        raise FileNotFoundError(
            f"Expected {', '.join(missing)} in {str(directory)!r}, as {name} says. "
            "Copy the whole directory."
        )
    check_keys(path, manifest, (*KEYS, *keys))
    return manifest


def check_keys(path: Path, entries: Mapping[str, object], keys: Sequence[str]) -> None:
    """Raise ValueError if entries of the manifest at `path` lack some keys."""
    missing = [key for key in keys if key not in entries]
    if missing:
        raise ValueError(
            f"Expected {', '.join(missing)} in {path}, which lacks it. {ADVICE}"
        )


def read_vocabulary(path: Path, sentencepiece: ModuleType) -> SentencePieceProcessor:
    """Read the SentencePiece vocabulary of a file, by the module `sentencepiece`.

    Raises:
        ValueError: if it is empty or damaged.
    """
    content = path.read_bytes()
    with named_when_broken(path):
        if not content:  # That, sentencepiece takes for no file at all.
            raise ValueError("it is empty")
        return sentencepiece.SentencePieceProcessor(model_proto=content)


@contextmanager
def named_when_broken(*paths: Path) -> Iterator[None]:
    """Let errors of a runtime that opens a file, with others, say which and what to do.

    Raises:
        ValueError: for any error; runtimes have kinds of their own.
    """
    try:
        yield
    except Exception as error:
        names = " with ".join(repr(str(path)) for path in paths)
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            f"Expected a whole file, but {names} cannot be read: {lines[0]}. {ADVICE}"
        ) from error
