"""The command `presets`: as a table or as data. Keras is not needed."""

from __future__ import annotations

import json
import math
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from keras_pg2.catalogue.architecture import (
    count_parameters,
    override_architecture,
    variable_shapes,
)
from keras_pg2.catalogue.names import PRESETS, Preset, bundled_presets
from keras_pg2.catalogue.released import NUM_EXTRA_ROWS
from keras_pg2.cli import options
from keras_pg2.typing import Architecture

_LEGEND = """
px: height and width of the pictures inside. kind: "scenes" knows only drawn scenes,
"pt" is to be fine-tuned, "mix" does many tasks, "ft_docci" writes long captions.

GB: of the download, and of the weights in memory in bfloat16, int8 and int4 (image
encoder and embedding stay in bfloat16 in the latter two).

A released model is downloaded when it is first used. Accept its licence at its page,
and log in with `hf auth login`:
  keras-pg2 caption photo.jpg --preset pali_gemma2_mix_3b_224 --dtype bfloat16"""


def presets(as_json: options.AsJson = False) -> None:
    """List the presets: what is bundled, and what can be downloaded."""
    records = list_presets()
    if as_json:
        typer.echo(json.dumps(records, indent=2))
    else:
        print_presets(records)


def list_presets() -> list[dict[str, Any]]:
    """Return one record per preset: name, kind, parameters, image_size (pixels), sizes.

    Sizes are bytes: `download_bytes`, and `memory_bytes` by the type of the weights.
    """
    bundled = []
    for name, directory in bundled_presets().items():
        config = json.loads((directory / "config.json").read_text("utf-8"))["config"]
        architecture = override_architecture(config)
        record = {
            "name": name,
            "kind": "scenes",
            "parameters": count_parameters(**architecture),
            "image_size": architecture["vision_encoder"]["image_size"],
            "download_bytes": 0,
            "memory_bytes": memory_bytes(architecture),
            "is_bundled": True,
            "source": str(directory),
        }
        bundled.append(record)
    released = [
        {
            "name": preset.name,
            "kind": preset.kind,
            "parameters": preset.num_parameters,
            "image_size": preset.image_size,
            "download_bytes": _download_bytes(preset),
            "memory_bytes": memory_bytes(preset.architecture),
            "is_bundled": False,
            "source": preset.huggingface_id,
        }
        for preset in PRESETS.values()
    ]
    return bundled + released


def print_presets(records: list[dict[str, Any]]) -> None:
    """Print records as a table, with how to get what is not bundled."""
    console = Console(highlight=False)
    # Wide enough for every row in a pipe, and every row fits in a terminal of 80.
    console.width = max(console.width, 80)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("px", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for title in ("GB", "bf16", "int8", "int4"):
        table.add_column(title, justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            record["name"],
            _abbreviate(record["parameters"]),
            str(record["image_size"]),
            record["kind"],
            "bundled" if record["is_bundled"] else _gigabytes(record["download_bytes"]),
            *(_gigabytes(size) for size in record["memory_bytes"].values()),
        )
    console.print(table)
    console.print(_LEGEND, soft_wrap=True)


def memory_bytes(architecture: Architecture) -> dict[str, int]:
    """Return bytes of weights in memory by type; scales of int4 in groups of 128.

    Quantised are the decoder's matrices, as KerasHub's `quantize` does with a filter;
    the embedding and all else stays bfloat16.
    """
    shapes = variable_shapes(**architecture)
    total = sum(map(math.prod, shapes.values()))
    matrices = [
        shape
        for path, shape in shapes.items()
        if path.startswith("text_decoder/block_") and path.endswith("/kernel")
    ]
    quantized = sum(map(math.prod, matrices))
    columns = sum(shape[1] for shape in matrices)
    rest = 2 * (total - quantized)
    return {
        "bfloat16": 2 * total,
        "int8": rest + quantized + 4 * columns,
        "int4": rest + quantized // 2 + 4 * (quantized // 128),
    }


def _download_bytes(preset: Preset) -> int:
    """Size of the hub's files: bfloat16 for PaliGemma 2, float32 for PaliGemma."""
    itemsize = 2 if preset.text_decoder["has_post_norms"] else 4
    extra_rows = NUM_EXTRA_ROWS * preset.text_decoder["hidden_dim"]
    return itemsize * (preset.num_parameters + extra_rows)


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f}"


def _abbreviate(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
