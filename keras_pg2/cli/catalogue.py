"""The presets there are, as a table or as data. Keras is not needed."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_pg2 import presets

_KINDS = {
    "pt": "pt: to be fine-tuned",
    "mix": "mix: many tasks",
    "ft_docci": "ft_docci: long captions",
}


def list_presets() -> list[dict[str, Any]]:
    """One record per preset: name, kind, parameters, image_size (pixels), source."""
    bundled = []
    for name, directory in presets.bundled_presets().items():
        config = json.loads((directory / "config.json").read_text("utf-8"))["config"]
        numbers = presets.override_numbers(config)
        record = {
            "name": name,
            "kind": "drawn scenes only",
            "parameters": presets.count_parameters(**numbers),
            "image_size": numbers["vision_encoder"]["image_size"],
            "is_bundled": True,
            "source": str(directory),
        }
        bundled.append(record)
    released = [
        {
            "name": preset.name,
            "kind": _KINDS[preset.kind],
            "parameters": preset.num_parameters,
            "image_size": preset.image_size,
            "is_bundled": False,
            "source": preset.huggingface_id,
        }
        for preset in presets.PRESETS.values()
    ]
    return bundled + released


def print_presets(records: list[dict[str, Any]]) -> None:
    """Prints records as a table, with how to get what is not bundled."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("pixels", justify="right", no_wrap=True)
    table.add_column("kind")
    table.add_column("where", overflow="fold")
    for record in records:
        table.add_row(
            record["name"],
            _in_words(record["parameters"]),
            str(record["image_size"]),
            record["kind"],
            "bundled" if record["is_bundled"] else f"hf: {record['source']}",
        )
    console.print(table)
    console.print(
        "\nTo use a released model, accept its licence at huggingface.co/<hf name>, "
        "download it and name the directory:\n"
        "  hf download google/paligemma2-3b-mix-224 --local-dir pg2-mix\n"
        "  keras-pg2 caption photo.jpg --preset pg2-mix --dtype bfloat16",
        soft_wrap=True,
    )


def _in_words(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
