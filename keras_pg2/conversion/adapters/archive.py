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
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_pg2.conversion.adapters.files import (
    KERNELS,
    Adapter,
    factor_tensors,
    pair_up,
)

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
        ValueError: if the file is damaged or of another format.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"Expected adapters with the format {_FORMAT!r} in {path}. Received: "
            f"{metadata.get('format')!r}."
        )
    by_group: dict[str, dict[str, np.ndarray]] = {}
    for key, value in load_file(path).items():
        group, _, rest = key.partition("/")
        by_group.setdefault(group, {})[rest] = value
    known = {}
    for i, entry in enumerate(json.loads(metadata["adapters"])):
        tensors = {tuple(k.rsplit("/", 1)): v for k, v in by_group[str(i)].items()}
        layers = pair_up(tensors, KERNELS, entry["alphas"], path)
        known[entry["name"]] = Adapter(
            layers, tuple(entry["targets"]), dropout=entry["dropout"]
        )
    return KeptAdapters(
        known=known,
        active=json.loads(metadata["active"]),
        merged=json.loads(metadata["merged"]),
        kernels=by_group.get(_BASE.rstrip("/"), {}),
    )
