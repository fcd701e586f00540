"""The command `export`: a model as files that run without Keras."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from keras_pg2.cli import options
from keras_pg2.cli.loading import choose_checkpoint
from keras_pg2.cli.messages import notice, print_result, progress
from keras_pg2.deploy.formats import FORMATS, check_export
from keras_pg2.start.backends import use_backend


@options.with_options
def export(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="Name of a preset, Hugging Face id, hf:// or kaggle:// address, "
            "folder or file, the folder of a run, or an adapter.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Directory or file to be.", show_default=False
        ),
    ],
    to: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.", show_default=False)],
    quantize: Annotated[
        str, typer.Option(help="float32, or what the format has: float16, int8, int4.")
    ] = "float32",
    adapter: options.Adapters = None,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.AUTO,
) -> None:
    """Write a model as files for other runtimes, and hold them to it.

    The files are run on sample inputs beside the model, and the differences printed;
    files that are not the model's are not left in place. Adapters are merged into the
    weights that are written.
    """
    used = use_backend(backend)
    found = check_export(to, quantize, output, used.value)
    chosen = choose_checkpoint(options.ModelChoice(preset, adapter, backend, dtype))
    start = time.monotonic()
    model = chosen.load()
    with progress(f"Writing and verifying {output} ({to}, {quantize})"):
        comparison = found.export(model, output, quantize)
    files = [output] if output.is_file() else sorted(output.rglob("*"))
    for file in filter(Path.is_file, files):
        print_result(f"{file}  {file.stat().st_size / 1e6:,.2f} MB")
    print_result(f"verified: {comparison}")
    notice(f"{time.monotonic() - start:.0f} s")
