"""SentencePiece models of any origin, checked before the C++ library reads them."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from keras_pg2.checks.texts import printable

# Made at run time, so type checkers do not see it.
_MODEL: Any = sentencepiece_model_pb2.ModelProto  # type: ignore[attr-defined]
Piece = _MODEL.SentencePiece
MAX_VOCABULARY_BYTES = 100_000_000
"""The released vocabulary takes 4 MB; parsed, a file takes ten times as much."""


def new_model() -> Any:
    """Return a `ModelProto` without pieces."""
    return _MODEL()


def read_vocabulary(path: Path) -> bytes:
    """Return the content of a SentencePiece file.

    Raises:
        OSError: if it is not a regular file, or cannot be read.
        ValueError: if it is larger than any vocabulary.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # Reading a named pipe would wait for ever.
        raise OSError(f"Expected a file at {path}. Received: something else.")
    if status.st_size > MAX_VOCABULARY_BYTES:
        raise ValueError(
            f"Expected a vocabulary of at most {MAX_VOCABULARY_BYTES / 1e6:.0f} MB at "
            f"{path}. Received: {status.st_size / 1e6:.0f} MB."
        )
    return path.read_bytes()


def parse_sentencepiece(proto: bytes, source: str | Path = "the given bytes") -> Any:
    """Return the `ModelProto` of a SentencePiece file.

    Checked is what the library itself takes without an error and then orders or
    indexes by. The rest it checks when it loads the model.

    Args:
        proto: Content of the file.
        source: Where it is from, for errors.

    Raises:
        ValueError: if it is not a SentencePiece model, or has no pieces, not exactly
            one for unknown text, or scores that are not finite.
    """
    try:
        model = _MODEL.FromString(proto)
    except DecodeError as error:
        raise _error(
            source, f"bytes that cannot be parsed ({printable(error)})"
        ) from error
    pieces = model.pieces
    if not pieces:
        raise _error(source, "a file without pieces")
    unknown = [piece.type for piece in pieces].count(Piece.UNKNOWN)
    if unknown != 1:
        raise _error(source, f"{unknown} pieces for unknown text, of which one is due")
    if not all(map(math.isfinite, [piece.score for piece in pieces])):
        wrong = [i for i, piece in enumerate(pieces) if not math.isfinite(piece.score)]
        raise _error(source, f"the score {pieces[wrong[0]].score} of piece {wrong[0]}")
    texts = [piece.piece for piece in pieces]
    if not all(texts):
        raise _error(source, f"an empty text as piece {texts.index('')}")
    return model


def piece_texts(proto: bytes) -> list[str]:
    """Return the texts of the pieces of a model that was checked."""
    return [piece.piece for piece in _MODEL.FromString(proto).pieces]


def _error(source: str | Path, received: str) -> ValueError:
    return ValueError(
        f"Expected a SentencePiece model in {source}. Received: {received}. Pass "
        "PaliGemma's own tokenizer.model."
    )
