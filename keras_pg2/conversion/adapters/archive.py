"""All adapters of a model in one file, as an archive of Keras keeps them.

A safetensors file of `<index>/<path of the layer>/lora_kernel_a` and `..._b`, and of
`kernels/<path of the layer>` where an adapter is merged, all in float32. What is in
the network is in the archive's weights too, which are loaded after this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from keras_pg2.checks.texts import shown
from keras_pg2.conversion.adapters.files import (
    KERNELS,
    Adapter,
    factor_tensors,
    pair_up,
)
from keras_pg2.conversion.adapters.tensors import (
    parse_metadata,
    read_alpha,
    read_dropout,
    read_floats,
    read_metadata,
)
from keras_pg2.files.json_fields import Fields

FILE = "adapters.safetensors"
_FORMAT = "keras_pg2 adapters 1"
_BASE = "kernels/"


@dataclass(frozen=True)
class KeptAdapters:
    """The adapters of a model.

    Attributes:
        known: Adapters by name.
        active: Name of the one in the network; None without one, or if it is merged.
        merged: Name of the one that is merged; None without one.
        kernels: Kernels [D, F] without the merged one, by path of the layer.
    """

    known: Mapping[str, Adapter]
    active: str | None = None
    merged: str | None = None
    kernels: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_kept(kept: KeptAdapters, directory: Path) -> None:
    """Write adapters into a directory of assets; no file if there are no adapters."""
    if not kept.known:
        return
    tensors = {
        f"{i}/{key}": value
        for i, adapter in enumerate(kept.known.values())
        for key, value in factor_tensors(adapter).items()
    }
    # Exact: kernels that can be merged are of 32 or 16 bits.
    for path, kernel in kept.kernels.items():
        tensors[f"{_BASE}{path}"] = np.ascontiguousarray(kernel, np.float32)
    adapters = [
        {
            "name": name,
            "alphas": {path: float(f.alpha) for path, f in adapter.layers.items()},
            "targets": adapter.targets,
            "dropout": adapter.dropout,
        }
        for name, adapter in kept.known.items()
    ]
    metadata = {
        "format": _FORMAT,
        "adapters": json.dumps(adapters),
        "active": json.dumps(kept.active),
        "merged": json.dumps(kept.merged),
    }
    save_file(tensors, directory / FILE, metadata)


def read_kept(directory: Path) -> KeptAdapters | None:
    """Read what `write_kept` wrote; None where there is nothing.

    Raises:
        ValueError: if the file is damaged or of another format; names the field.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    metadata = read_metadata(path)
    if metadata.value("format", None) != _FORMAT:
        raise ValueError(
            f"Expected adapters with the format {_FORMAT!r} in {path}. Received: "
            f"{shown(metadata.value('format', None))}."
        )
    parsed = parse_metadata(metadata, ("adapters", "active", "merged"))
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in read_floats(path).items():
        group, _, rest = key.partition("/")
        groups.setdefault(group, {})[rest] = value
    kernels = groups.pop(_BASE.rstrip("/"), {})
    known: dict[str, Adapter] = {}
    for i, entry in enumerate(parsed.items("adapters", Fields.fields)):
        name = entry.text("name")
        if name in known:
            raise entry.error("name", "a name that no other adapter has")
        tensors = {
            tuple(k.rsplit("/", 1)): v for k, v in groups.pop(str(i), {}).items()
        }
        known[name] = Adapter(
            pair_up(tensors, KERNELS, entry.table("alphas", read_alpha), path),
            tuple(entry.items("targets", Fields.text)),
            dropout=read_dropout(entry, "dropout"),
        )
    active, merged = (_read_name(parsed, name, known) for name in ("active", "merged"))
    shapes = {} if merged is None else _kernel_shapes(known[merged])
    if groups or shapes != {key: value.shape for key, value in kernels.items()}:
        raise ValueError(
            f"Expected tensors of {len(known)} adapters in {path}, and kernels of the "
            f"layers of {shown(merged)}. Received others. Save the model again."
        )
    return KeptAdapters(known, active, merged, kernels)


def _read_name(fields: Fields, name: str, known: Mapping[str, Adapter]) -> str | None:
    found = fields.value(name)
    if found is not None and fields.text(name) not in known:
        raise fields.error(name, "the name of an adapter of the file, or null")
    return found  # type: ignore[no-any-return]


def _kernel_shapes(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the kernels that an adapter is for."""
    return {
        path: (factors.a.shape[0], factors.b.shape[1])
        for path, factors in adapter.layers.items()
    }
