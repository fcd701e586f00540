"""Reading what is in the directory of an exported model; broken files are named.

Needs no Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_pg2.checks.texts import printable
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.preprocessing.resizing import INTERPOLATIONS

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

VOCABULARY = "vocabulary.spm"
ADVICE = "Copy the whole directory again, or export the model again."
MOST_PARTS = 1000
"""Layers, parts of a decoder or lengths of prompts that a manifest may name."""
_MOST_PIXELS = 4096
"""Bound of a side of a model's pictures; PaliGemma's have up to 896."""
_MOST_TOKENS = 2**20
_QUANTIZATIONS = ("float16", "int8", "int4")

Manifest = dict[str, Any]


def read_manifest(
    directory: Path, name: str, exporter: str, read_more: Callable[[Fields], Manifest]
) -> Manifest:
    """Return what describes an exported model, all of whose files are there.

    Args:
        directory: Directory of the model.
        name: Name of the manifest.
        exporter: The function that writes such directories, for errors.
        read_more: Reads what the format has beside what all manifests have.

    Raises:
        FileNotFoundError: if it or a file that it names is missing.
        ValueError: if it cannot be read, or a field is missing or out of range; names
            the file and the field.
    """
    path = directory / name
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a directory that {exporter} wrote, with {name} in it. "
            f"Received: {str(directory)!r}, where there is none."
        )
    with _with_advice():
        fields = read_config(path)
        files = fields.table("files", _read_file_name)
    wanted = sorted({VOCABULARY, *files.values()})
    missing = [file for file in wanted if not (directory / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected {printable(', '.join(missing))} in {str(directory)!r}, as "
            f"{name} says. Copy the whole directory."
        )
    with _with_advice():
        return {"files": files, **_read_common(fields), **read_more(fields)}


def _read_common(fields: Fields) -> Manifest:
    """Return what all manifests have."""
    quantization = fields.value("quantization")  # null is float32.
    if quantization is not None:
        quantization = fields.text("quantization", choices=_QUANTIZATIONS)
    return {
        "quantization": quantization,
        "cache_length": fields.integer(
            "cache_length", at_least=1, at_most=_MOST_TOKENS
        ),
        "image_size": fields.integer("image_size", at_least=1, at_most=_MOST_PIXELS),
        "interpolation": fields.text("interpolation", choices=tuple(INTERPOLATIONS)),
        "antialias": fields.flag("antialias"),
        "separator": fields.text("separator"),
        "separator_ids": fields.items("separator_ids", Fields.integer),
        "start_token_ids": fields.items("start_token_ids", Fields.integer),
        "end_token_id": fields.integer("end_token_id"),
        "special_token_ids": fields.items("special_token_ids", Fields.integer),
    }


def _read_file_name(fields: Fields, name: str) -> str:
    """Return the name of a file, which no name may lead out of the directory."""
    text: str = fields.text(name)
    windows = PureWindowsPath(text)  # Splits at slashes of both kinds.
    if not windows.parts or windows.anchor or ".." in windows.parts:
        raise fields.error(name, "a file in its directory")
    return text


def check_files(path: Path, files: Mapping[str, str], names: Iterable[str]) -> None:
    """Raise ValueError if the manifest at `path` has no files of some names."""
    missing = [name for name in names if name not in files]
    if missing:
        raise ValueError(
            f"Expected {', '.join(missing[:8])} under files in {path}, which lacks it. "
            f"{ADVICE}"
        )


@contextmanager
def _with_advice() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} {ADVICE}") from error


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
