"""Whether an adapter is for a model: its layers, and its base in numbers and hashes.

The model is a network or the files of one; both are compared by the same rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.checks.texts import shown
from keras_pg2.conversion.adapters.files import Adapter, Base
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.transforms import Shape
from keras_pg2.conversion.tables.weight_table import read_variable
from keras_pg2.typing import Architecture


def kernel_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Return the shape [D, F] of the kernel of every dense layer, by its path."""
    return {
        path.removesuffix("/kernel"): shape
        for path, shape in variable_shapes(**architecture).items()
        if path.endswith("/kernel") and len(shape) == 2
    }


def hash_weights(values: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return a hash of paths and values, the values rounded to bfloat16."""
    digest = hashlib.sha256()
    for path, value in values:
        digest.update(path.encode())
        digest.update(value.astype(np.float32).astype(DTYPES["bfloat16"]).tobytes())
    return digest.hexdigest()[:32]


def describe_base(
    name: str,
    architecture: Architecture,
    vectors: Iterable[tuple[str, np.ndarray]],
    first_rows: Iterable[tuple[str, np.ndarray]] | None,
) -> Base:
    """Return what an adapter remembers of its base.

    Values are rounded to bfloat16, so that a checkpoint of bfloat16 is the same in
    every dtype.

    Args:
        name: Name of the checkpoint.
        architecture: Architecture of the network.
        vectors: Path and value of every norm and bias, in the order of the network.
        first_rows: Path of each dense layer and the first row [F] of its kernel without
            LoRA; None where kernels are quantized, which have no hash.
    """
    hashes = {"norms and biases": hash_weights(vectors)}
    if first_rows is not None:
        hashes["kernels"] = hash_weights(first_rows)
    # How it was trained, and nothing that another network would have otherwise.
    parts = {part: dict(arguments) for part, arguments in architecture.items()}
    parts["text_decoder"].pop("dropout", None)
    return Base(name, parts, hashes)


def check_adapter_fits(adapter: Adapter, checkpoint: Checkpoint, source: Path) -> None:
    """Check that an adapter is for a checkpoint, whose weights are read for it.

    Raises:
        ValueError: if it is for other layers or weights; names the file `source`.
    """
    architecture = checkpoint.architecture
    check_layers(adapter, kernel_shapes(architecture), source)
    if not adapter.base.hashes:  # As of PEFT, which does not tell.
        return
    rows = {row.ours: row for row in checkpoint.rows}
    vectors = (
        (path, read_variable(checkpoint.source, rows[path]))
        for path, shape in variable_shapes(**architecture).items()
        if len(shape) == 1
    )
    first_rows = (
        (path, read_variable(checkpoint.source, rows[f"{path}/kernel"])[0])
        for path in kernel_shapes(architecture)
    )
    name = checkpoint.path.resolve().name
    has_kernels = "kernels" in adapter.base.hashes
    here = describe_base(
        name, architecture, vectors, first_rows if has_kernels else None
    )
    check_base(adapter, here, source)


def check_layers(adapter: Adapter, shapes: Mapping[str, Shape], source: Path) -> None:
    """Check that a model has the layers of an adapter.

    Args:
        adapter: The adapter.
        shapes: Shapes [D, F] of the model's dense layers, by path.
        source: File of the adapter, for errors.

    Raises:
        ValueError: if layers are not there or of another shape.
    """
    missing = [path for path in adapter.layers if path not in shapes]
    misfits = [
        f"{path} {(a.shape[0], b.shape[1])}, here {tuple(shapes[path])}"
        for path, (a, b, _) in adapter.layers.items()
        if path in shapes and (a.shape[0], b.shape[1]) != tuple(shapes[path])
    ]
    problems = [
        f"{len(found)} {problem}: {'; '.join(found[:4])}"
        for problem, found in (
            ("layers this model does not have", missing),
            ("kernels of another shape", misfits),
        )
        if found
    ]
    if problems:
        raise ValueError(
            f"Expected an adapter for this model in {source}. Received "
            f"{', and '.join(problems)}. Load the model it was trained on"
            f"{_named(adapter.base)}."
        )


def check_base(adapter: Adapter, here: Base, source: Path) -> None:
    """Raise ValueError if an adapter was trained on other weights or numbers."""
    base = adapter.base
    differences = _different_values(base.architecture, here.architecture)
    differences += [
        f"other {group}"
        for group, value in base.hashes.items()
        if here.hashes.get(group, value) != value
    ]
    if differences:
        raise ValueError(
            f"Expected the base that the adapter in {source} was trained on"
            f"{_named(base)}. Received{_named(here)} another one: "
            f"{', '.join(differences[:6])}. Take that model (--preset), and name the "
            "adapters that were merged into it first (--adapter, in their order); or "
            "in Python load the adapter with check_base=False to use it all the same."
        )


def _different_values(
    theirs: Architecture | None, ours: Architecture | None
) -> list[str]:
    if theirs is None or ours is None:
        return []
    return [
        f"{name}={ours[part].get(name)!r} "
        f"(the adapter's is {shown(architecture.get(name))})"
        for part, architecture in theirs.items()
        for name in {**ours[part], **architecture}
        if ours[part].get(name) != architecture.get(name)
    ]


def _named(base: Base) -> str:
    return f" ({base.name})" if base.name else ""
