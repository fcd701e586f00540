"""From one format to another, file to file, and from a model to files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from keras_pg2.catalogue.names import locate
from keras_pg2.checks.dtypes import check_dtype
from keras_pg2.conversion.formats import (
    WRITERS,
    Writer,
    count_pieces,
    has_config,
)
from keras_pg2.conversion.found_models import find_checkpoint, open_found
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.targets import check_apart, check_directory, check_kind
from keras_pg2.files.user_paths import user_path
from keras_pg2.files.whole_files import refuse_directory, staged
from keras_pg2.typing import Advance

TOKENIZER_FILE = "paligemma_tokenizer.model"
"""Beside a .npz, under the name big_vision gives it."""


def convert(
    source: str | Path,
    target: str | Path,
    to: str,
    dtype: str | None = None,
    *,
    tokenizer: str | Path | None = None,
    adapters: Sequence[str | Path] = (),
    overwrite: bool = False,
    advance: Advance = lambda num_bytes: None,
) -> Path:
    """Converts a checkpoint file to file; no model is built, Keras computes nothing.

    Tensors pass one at a time, so memory is that of the largest two of them.

    Args:
        source: a checkpoint of any format, see `open_checkpoint`; or the folder of a
            fine-tuning run, or an adapter that knows its base.
        target: a directory, or a file of the format's ending.
        to: "hf", "preset", "npz" or "sbs".
        dtype: "float32", "bfloat16" or "float16" (or short, "bf16") of all weights, for
            "sbs" also "sfp" (8 bits); None keeps each tensor's own type ("sbs":
            bfloat16).
        tokenizer: a SentencePiece file, for a source that has none, or to take in place
            of its own.
        adapters: LoRA adapters that are merged into the weights, in their order.
        overwrite: whether something at the target is replaced.
        advance: told the number of bytes of each block of weights when written.

    Returns:
        The target.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`; for an unknown format or
            type, a network the format cannot hold, or a vocabulary that SentencePiece
            cannot read; when the source is the target, or in it; for a run that has
            not ended, or an adapter of another base.
        FileExistsError: when the target is there and `overwrite` is False, or is no
            checkpoint alone.
        OSError: when the disk is full; nothing is left behind.
    """
    target = user_path(target)
    check_target(to, dtype, target)
    found = find_checkpoint(source, adapters)
    path = locate(found.base) if found.adapters else Path(found.base)
    checkpoint = open_found(found, path, tokenizer)
    return write_checkpoint(
        checkpoint, target, to, dtype, overwrite=overwrite, advance=advance
    )


def write_checkpoint(
    checkpoint: Checkpoint,
    target: str | Path,
    to: str,
    dtype: str | None = None,
    *,
    overwrite: bool = False,
    advance: Advance = lambda num_bytes: None,
) -> Path:
    """Writes an opened checkpoint; see `convert`."""
    target = user_path(target)
    writer, dtype = check_target(to, dtype, target)
    check_apart(checkpoint.path, target)
    checkpoint.check_is_float()
    _check_tokenizer(checkpoint)
    beside = target.with_name(TOKENIZER_FILE)
    proto = checkpoint.preprocessing.tokenizer if to == "npz" else None
    if proto is not None and beside.exists() and beside.read_bytes() != proto:
        raise FileExistsError(
            f"Expected to write the tokenizer to {beside}, where another one is. "
            "Write to a directory of its own."
        )
    check = refuse_directory
    if not writer.ending:
        check = partial(check_directory, is_checkpoint=has_config)
    num_bytes = expected_bytes(checkpoint, dtype)
    with staged(target, overwrite, num_bytes, check) as part:
        writer.write(checkpoint, part, dtype, advance)
        # First, so that no .npz is there without it, whenever this is killed.
        if proto is not None:
            with staged(beside, overwrite=True) as part_beside:
                part_beside.write_bytes(proto)
    return target


def _check_tokenizer(checkpoint: Checkpoint) -> None:
    """Check a vocabulary as every reader of what is written will.

    Raises:
        ValueError: if SentencePiece cannot read it, or it has more pieces than the
            network has embeddings.
    """
    proto = checkpoint.preprocessing.tokenizer
    if proto is None:
        return
    num_pieces = count_pieces(proto, checkpoint.path)
    num_rows = checkpoint.architecture["text_decoder"]["vocabulary_size"]
    if num_pieces > num_rows:
        raise ValueError(
            f"Expected a tokenizer of at most {num_rows} pieces, the vocabulary of the "
            f"network. Received: {num_pieces} pieces with {checkpoint.path}, so the "
            "tokenizer belongs to another model."
        )


def expected_bytes(checkpoint: Checkpoint, dtype: str | None) -> int:
    """About how many bytes of weights will be written; `dtype` in its long spelling."""
    if dtype is None:
        return checkpoint.num_bytes
    # 8-bit files keep the embedding in 16 bits; one byte a weight is the least.
    itemsize = DTYPES[dtype].itemsize if dtype in DTYPES else 1
    return checkpoint.num_parameters * itemsize


def check_target(to: str, dtype: str | None, target: Path) -> tuple[Writer, str | None]:
    """Return the writer of a format and the long name of the weights' type.

    Raises:
        FileExistsError: when something of another kind is there.
        ValueError: for an unknown format or type, or another ending of the file.
    """
    if to not in WRITERS:
        raise ValueError(
            f"Expected a format of {', '.join(WRITERS)}. Received: {to!r}."
        )
    writer = WRITERS[to]
    if dtype is not None:
        dtype = check_dtype(dtype, writer.dtypes, f"dtype of a {writer.title}")
    if writer.ending and target.suffix.lower() != writer.ending:
        raise ValueError(
            f"Expected a file that ends in {writer.ending} for a {writer.title}. "
            f"Received: {target}."
        )
    check_kind(target, writer.title, is_directory=not writer.ending)
    return writer, dtype
