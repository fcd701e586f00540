"""The presets there are, as a table or as data. Keras is not needed."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_pg2 import presets

_LEGEND = """
px: height and width of the pictures inside. kind: "scenes" knows only drawn scenes,
"pt" is to be fine-tuned, "mix" does many tasks, "ft_docci" writes long captions.

To use a released model, accept its licence at its page, download it and name the
directory:
  hf download google/paligemma2-3b-mix-224 --local-dir pg2-mix
  keras-pg2 caption photo.jpg --preset pg2-mix --dtype bfloat16"""


def list_presets() -> list[dict[str, Any]]:
    """One record per preset: name, kind, parameters, image_size (pixels), source."""
    bundled = []
    for name, directory in presets.bundled_presets().items():
        config = json.loads((directory / "config.json").read_text("utf-8"))["config"]
        numbers = presets.override_numbers(config)
        record = {
            "name": name,
            "kind": "scenes",
            "parameters": presets.count_parameters(**numbers),
            "image_size": numbers["vision_encoder"]["image_size"],
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
            "is_bundled": False,
            "source": preset.huggingface_id,
        }
        for preset in presets.PRESETS.values()
    ]
    return bundled + released


def print_presets(records: list[dict[str, Any]]) -> None:
    """Prints records as a table, with how to get what is not bundled."""
    console = Console(highlight=False)
    # Wide enough for every row in a pipe, and every row fits in a terminal of 80.
    console.width = max(console.width, 80)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("px", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("at hf.co/google/", no_wrap=True)
    for record in records:
        place = "(bundled)" if record["is_bundled"] else record["source"]
        table.add_row(
            record["name"],
            _in_words(record["parameters"]),
            str(record["image_size"]),
            record["kind"],
            place.removeprefix("google/"),
        )
    console.print(table)
    console.print(_LEGEND, soft_wrap=True)


def _in_words(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
