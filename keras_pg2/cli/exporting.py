"""The command `export`: a model as files that run without Keras."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from keras_pg2.cli import options
from keras_pg2.cli.messages import notice, print_result, progress
from keras_pg2.deploy.formats import FORMATS, check_export
from keras_pg2.start.backends import use_backend


@options.with_options
def export(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="Name of a preset, Hugging Face id, hf:// or kaggle:// address, or "
            "folder.",
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
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="An adapter that is merged into the weights.", show_default=False
        ),
    ] = None,
    backend: options.BackendName = None,
    dtype: options.DTypeName = options.AUTO,
) -> None:
    """Write a model as files for other runtimes, and hold them to it.

    The files are run on sample inputs beside the model, and the differences printed;
    files that are not the model's are not left in place.
    """
    used = use_backend(backend)
    found = check_export(to, quantize, output, used.value)
    if adapter is not None and not adapter.exists():
        raise FileNotFoundError(
            f"Expected an adapter. Received: {adapter}, which does not exist."
        )
    from keras_pg2.tasks import PaliGemma2CausalLM

    start = time.monotonic()
    with progress(f"Loading {preset}"):
        model = PaliGemma2CausalLM.from_preset(preset, dtype=dtype)
        if adapter is not None:
            model.adapters.load(adapter)
    with progress(f"Writing and verifying {output} ({to}, {quantize})"):
        comparison = found.export(model, output, quantize)
    files = [output] if output.is_file() else sorted(output.rglob("*"))
    for file in filter(Path.is_file, files):
        print_result(f"{file}  {file.stat().st_size / 1e6:,.2f} MB")
    print_result(f"verified: {comparison}")
    notice(f"{time.monotonic() - start:.0f} s")
