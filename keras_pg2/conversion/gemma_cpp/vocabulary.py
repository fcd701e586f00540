"""The vocabulary of gemma.cpp's files: padded to what its matrices want."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from keras_pg2.checks.texts import printable
from keras_pg2.conversion.tables.transforms import mean_row
from keras_pg2.typing import Architecture

_ROWS = 64
"""What the rows of the embedding are a multiple of: gemma.cpp wants 16, or 32 on
processors with AVX-512."""


def without_padding(
    architecture: Architecture, proto: bytes | None, path: Path
) -> tuple[Architecture, tuple[str, ...]]:
    """Return the architecture of the vocabulary that there is, and a note of the rest.

    Rows that only fill a table up to a multiple of 64 have no piece in the vocabulary.
    """
    num_rows = architecture["text_decoder"]["vocabulary_size"]
    if proto is None:
        return architecture, ()
    num_pieces = read_vocabulary(proto, f"the tokenizer of {path}").get_piece_size()
    if not num_pieces < num_rows == padded_rows(num_pieces):
        return architecture, ()
    text = {**architecture["text_decoder"], "vocabulary_size": num_pieces}
    note = (
        f"the last {num_rows - num_pieces} rows of the embedding are left out: the "
        f"vocabulary of {num_pieces} pieces is padded to {num_rows} for gemma.cpp"
    )
    return {**architecture, "text_decoder": text}, (note,)


def read_vocabulary(proto: bytes, source: str) -> SentencePieceProcessor:
    """Return the vocabulary of a serialised model.

    Raises:
        ValueError: if it is no model of SentencePiece.
    """
    try:
        return SentencePieceProcessor(model_proto=proto)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"Expected a SentencePiece vocabulary as {source}. Received: "
            f"{printable(error)}."
        ) from error


def padded_rows(num_rows: int) -> int:
    """Return the rows that a table of so many has in a file."""
    return num_rows + -num_rows % _ROWS


def pad_table(table: np.ndarray) -> np.ndarray:
    """Return a table with its mean row in those that no piece is for."""
    missing = padded_rows(len(table)) - len(table)
    if not missing:
        return table
    return np.concatenate([table, np.tile(mean_row(table), (missing, 1))])


def with_padding(architecture: Architecture) -> Architecture:
    """Return the architecture with the rows that its table has in the file."""
    text = architecture["text_decoder"]
    num_rows = text["vocabulary_size"]
    padded = padded_rows(num_rows)
    if padded > num_rows:
        warnings.warn(
            f"Expected a vocabulary of a multiple of {_ROWS} pieces for gemma.cpp. "
            f"Received: {num_rows}, so the embedding in the file has {padded} rows, "
            f"the last {padded - num_rows} of no piece. Reading it leaves them out.",
            stacklevel=3,
        )
    return {**architecture, "text_decoder": {**text, "vocabulary_size": padded}}


def find_end_tokens(vocabulary: SentencePieceProcessor) -> tuple[int, int]:
    """Return the ids of `<eos>` and of the end of a turn, where there is one.

    Raises:
        ValueError: if there is no `<eos>`.
    """
    end, turn = vocabulary.eos_id(), vocabulary.piece_to_id("<end_of_turn>")
    if end < 0:
        raise ValueError(
            "Expected a vocabulary with an end token, at which gemma.cpp stops. "
            "Received one without."
        )
    return end, end if turn == vocabulary.unk_id() else turn
