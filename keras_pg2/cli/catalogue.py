"""The command `presets`: as a table or as data. Keras is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_pg2.catalogue.architecture import read_architecture
from keras_pg2.catalogue.names import PRESETS, Preset, bundled_presets
from keras_pg2.cli import options
from keras_pg2.cli.messages import print_json
from keras_pg2.files.json_fields import Fields, read_config

_LEGEND = """
px: height and width of the pictures inside. kind: "scenes" knows only drawn scenes,
"pt" is to be fine-tuned, "mix" does many tasks, "ft_docci" writes long captions.

GB: of the download, and of the weights in memory in bfloat16, int8 and int4 (the
kernels and the token embedding are integers then, all else stays bfloat16).

A released model is downloaded when it is first used. Accept its licence at its page,
and log in with `hf auth login`:
  keras-pg2 caption photo.jpg --preset pali_gemma2_mix_3b_224 --dtype bfloat16"""


@options.with_options
def presets(as_json: options.AsJson = False) -> None:
    """List the presets: what is bundled, and what can be downloaded."""
    records = list_presets()
    if as_json:
        print_json(records)
    else:
        print_presets(records)


def list_presets() -> list[dict[str, Any]]:
    """Return one record per preset: name, kind, licence, image_size (pixels), sizes.

    Sizes are bytes: `download_bytes`, and `memory_bytes` by the type of the weights.
    """
    return [
        *map(_describe_bundled, bundled_presets().values()),
        *map(_describe_released, sorted(PRESETS.values(), key=_by_size)),
    ]


def _describe_bundled(directory: Path) -> dict[str, Any]:
    config = read_config(directory / "config.json").fields("config")
    metadata = read_config(directory / "metadata.json")
    return {
        "name": directory.name,
        "kind": metadata.text("kind"),
        "license": metadata.text("license"),
        "parameters": metadata.integer("parameter_count"),
        "image_size": read_architecture(config)["vision_encoder"]["image_size"],
        "download_bytes": 0,
        "memory_bytes": metadata.table("memory_bytes", Fields.integer),
        "is_bundled": True,
        "source": str(directory),
    }


def _describe_released(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "kind": preset.kind,
        "license": preset.license,
        "parameters": preset.num_parameters,
        "image_size": preset.image_size,
        "download_bytes": preset.download_bytes,
        "memory_bytes": preset.memory_bytes,
        "is_bundled": False,
        "source": preset.huggingface_id,
    }


def _by_size(preset: Preset) -> tuple[bool, int, int]:
    """Key of an order: PaliGemma 2 first; by kind; from the small to the large."""
    is_first = not preset.text_decoder["has_post_norms"]
    return is_first, ("pt", "mix", "ft_docci").index(preset.kind), preset.num_parameters


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


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f}"


def _abbreviate(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
