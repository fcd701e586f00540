"""Whether an adapter is for this model: its base in numbers and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras import ops

from keras_pg2.catalogue.architecture import variable_shapes
from keras_pg2.catalogue.names import PRESETS
from keras_pg2.conversion.adapters.files import Adapter, Base, read_adapter
from keras_pg2.conversion.adapters.peft import read_peft
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.files.json_fields import shown
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.lora import check_can_adapt
from keras_pg2.tasks.adapters.layers import dense_layers
from keras_pg2.typing import Architecture


def short_name(preset: str | Path) -> str:
    """A preset's name; of a directory or file the last part of its path."""
    path = Path(preset).expanduser()
    return path.resolve().name if path.exists() else str(preset)


def hub_name(name: str) -> str:
    """A preset's Hugging Face id, or its own name where it has none."""
    if name in PRESETS:
        return PRESETS[name].huggingface_id
    return name.removeprefix("hf://").partition("@")[0]


def describe_base(backbone: PaliGemma2Backbone, name: str) -> Base:
    """What an adapter remembers of its base.

    The hashes are of all norms and biases, and of the first row of every kernel
    without LoRA; rounded to bfloat16, so that a checkpoint of bfloat16 is the same in
    every dtype. Kernels that are quantised have no hash. LoRA must not be merged.
    """
    architecture = backbone.architecture
    vectors = (
        (path, backbone.find(path))
        for path, shape in variable_shapes(**architecture).items()
        if len(shape) == 1
    )
    layers = dense_layers(backbone)
    hashes = {"norms and biases": hash_weights(vectors)}
    if not any(layer.quantization_mode for layer in layers.values()):
        hashes["kernels"] = hash_weights(
            (path, layer.base_kernel[0]) for path, layer in layers.items()
        )
    # How it was trained, and nothing that another network would have otherwise.
    architecture["text_decoder"].pop("dropout", None)
    return Base(name, architecture, hashes)


def hash_weights(values: Iterator[tuple[str, Any]]) -> str:
    """Of paths and values, the values rounded to bfloat16."""
    digest = hashlib.sha256()
    for path, value in values:
        rounded = ops.convert_to_numpy(ops.cast(value, "float32"))
        digest.update(path.encode())
        digest.update(rounded.astype(DTYPES["bfloat16"]).tobytes())
    return digest.hexdigest()[:32]


def open_adapter(
    path: Path, backbone: PaliGemma2Backbone, base_name: str | None
) -> Adapter:
    """Read a file of `write_adapter` or a directory of PEFT, and check it for a model.

    The model is not touched. Without the name of its checkpoint, `base_name`, the bases
    are not compared.

    Raises:
        FileNotFoundError, ValueError: as `Adapters.load`.
    """
    architecture = backbone.architecture
    adapter = read_peft(path, architecture) if path.is_dir() else read_adapter(path)
    check_layers(adapter, backbone, path)
    layers = dense_layers(backbone)
    check_can_adapt({each: layers[each] for each in adapter.layers})
    if base_name is not None:
        _check_base(adapter, describe_base(backbone, base_name), path)
    return adapter


def check_layers(adapter: Adapter, backbone: PaliGemma2Backbone, source: Path) -> None:
    """Raises ValueError when layers of an adapter are not there or of another shape."""
    layers = dense_layers(backbone)
    missing = [path for path in adapter.layers if path not in layers]
    misfits = []
    for path, (a, b, _) in adapter.layers.items():
        if path in layers:
            shape = tuple(layers[path].base_kernel.shape)
            if layers[path].quantization_mode == "int4":
                # Its kernel is stored two numbers a byte.
                shape = (layers[path].base_kernel.shape[0], layers[path].units)
            if (a.shape[0], b.shape[1]) != shape:
                misfits.append(f"{path} {(a.shape[0], b.shape[1])}, here {shape}")
    if missing or misfits:
        problems = [
            f"{len(found)} {problem}: {'; '.join(found[:4])}"
            for problem, found in (
                ("layers this model does not have", missing),
                ("kernels of another shape", misfits),
            )
            if found
        ]
        raise ValueError(
            f"Expected an adapter for this model in {source}. Received "
            f"{', and '.join(problems)}. Load the model it was trained on"
            f"{_named(adapter.base)}."
        )


def _check_base(adapter: Adapter, here: Base, source: Path) -> None:
    """Raises ValueError when an adapter was trained on other weights or numbers."""
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
            f"{', '.join(differences[:6])}. Load that model, or pass check_base=False "
            "to use the adapter all the same."
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


def check_nothing_else_trains(backbone: PaliGemma2Backbone, adapter: Adapter) -> None:
    """Raises ValueError when weights are trainable that an adapter does not hold."""
    layers = dense_layers(backbone)
    factors = {
        id(kernel)
        for path in adapter.layers
        for kernel in (layers[path].lora_kernel_a, layers[path].lora_kernel_b)
    }
    others = [v.path for v in backbone.trainable_variables if id(v) not in factors]
    if others:
        raise ValueError(
            "Expected only the adapter to be trainable, as its file keeps nothing "
            f"else. Received also: {', '.join(others[:4])} ({len(others)} such). Leave "
            "frozen what model.enable_lora froze, or use save_to_preset."
        )
