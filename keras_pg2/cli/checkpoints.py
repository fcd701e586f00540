"""The commands about checkpoint files: `convert` and `info`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from keras_pg2.catalogue.names import locate
from keras_pg2.checks.texts import printable
from keras_pg2.cli import options
from keras_pg2.cli.messages import notice, print_json, print_result, stderr

if TYPE_CHECKING:
    from keras_pg2.conversion.tables.checkpoint import Checkpoint

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Name of a preset, Hugging Face id, hf:// or kaggle:// address, folder, "
        ".npz or .sbs file, the folder of a run, or an adapter.",
        show_default=False,
    ),
]
TokenizerFile = Annotated[
    Path | None,
    typer.Option(
        help="A SentencePiece file, in place of the checkpoint's own or for a .npz "
        "that has none beside it.",
        show_default=False,
    ),
]


@options.with_options
def convert(
    source: Source,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET", help="Directory, .npz or .sbs file.", show_default=False
        ),
    ],
    adapter: options.Adapters = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="hf (transformers, vLLM, MLX), preset (Keras), npz (big_vision), sbs "
            "(gemma.cpp).",
            show_default=False,
        ),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(
            help="bf16, fp16 or fp32, for sbs also sfp (8 bits). Default: as they are; "
            "for sbs bf16.",
            show_default=False,
        ),
    ] = None,
    tokenizer: TokenizerFile = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is at TARGET.")
    ] = False,
) -> None:
    """Write a checkpoint in another format; no model is built.

    Adapters are merged into the weights.
    """
    _use_no_backend()
    from keras_pg2.conversion.convert import check_target, write_checkpoint
    from keras_pg2.conversion.found_models import find_checkpoint, open_found

    _, dtype = check_target(to, dtype, target)
    found = find_checkpoint(source, adapter or ())
    checkpoint = open_found(found, locate(found.base), tokenizer)
    for path in found.adapters:
        notice(f"Merging the adapter {path}.")
    for note in checkpoint.notes:
        notice(f"Note: {note}.")
    with _bytes_progress(f"Writing {target}", checkpoint, dtype) as advance:
        written = write_checkpoint(
            checkpoint, target, to, dtype, overwrite=overwrite, advance=advance
        )
    print_result(f"{written}: {checkpoint.num_parameters:,} parameters")


@options.with_options
def info(
    source: Source, tokenizer: TokenizerFile = None, as_json: options.AsJson = False
) -> None:
    """Describe a checkpoint, a preset's name, a run, an adapter or exported files.

    No weights are loaded.
    """
    _use_no_backend()
    from keras_pg2.cli.describing import describe

    record = describe(source, tokenizer)
    if as_json:
        print_json(record)
        return
    for name, value in record.items():
        if isinstance(value, dict):
            print_result(f"{printable(name)}:")
            for key, number in value.items():
                print_result(f"  {printable(key):26} {printable(number)}")
        elif isinstance(value, list):
            for entry in value:
                print_result(f"{name.removesuffix('s')}: {printable(entry)}")
        else:
            shown = f"{value:,}" if isinstance(value, int) else printable(value)
            print_result(f"{printable(name):28} {shown}")


def _use_no_backend() -> None:
    """Keras writes some of the files, but computes nothing: NumPy is soon imported."""
    os.environ.setdefault("KERAS_BACKEND", "numpy")


@contextmanager
def _bytes_progress(
    text: str, checkpoint: Checkpoint, dtype: str | None
) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on stderr; nothing where that is no terminal."""
    from keras_pg2.conversion.convert import expected_bytes

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(text), total=expected_bytes(checkpoint, dtype))
        yield lambda num_bytes: bar.advance(task, num_bytes)
