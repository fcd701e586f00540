"""LoRA adapters as values, and the file they are kept in.

A file is one safetensors file of `<path of the layer>/lora_kernel_a` and `..._b` in
float32. Its metadata say ranks, alphas, what was asked for, and the base: its name,
its numbers, and hashes of some of its weights.

Axes: D inputs, F outputs, R rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from safetensors.numpy import save_file

from keras_pg2.checks.texts import printable, shown
from keras_pg2.conversion.adapters.tensors import (
    check_finite,
    parse_metadata,
    read_alpha,
    read_dropout,
    read_floats,
    read_metadata,
)
from keras_pg2.files.json_fields import Fields
from keras_pg2.files.whole_files import readable, staged
from keras_pg2.typing import Architecture

FORMAT = "keras_pg2 lora 1"
ADAPTER_FILE = "adapter.safetensors"
"""In the directory of a fine-tuning run."""
ENDING = ".safetensors"
KERNELS = ("lora_kernel_a", "lora_kernel_b")
"""Names of a layer's factors, as of Keras' variables."""
PICKLED = (
    "a pickle, which could run any code. Load it in peft and save it again with "
    "save_pretrained, which writes safetensors."
)
"""What files of PyTorch are, and what to do."""
_PARSED = ("alphas", "targets", "base_numbers", "base_hashes", "dropout")
"""Metadata that are JSON."""
_PARTS = ("vision_encoder", "text_decoder")
_HDF5 = (
    "a file of Keras. Files of save_lora_weights are read by "
    "model.backbone.load_lora_weights, weights by model.load_weights."
)
_MODEL = "a whole model. Load it by PaliGemma2CausalLM.from_preset."
_OTHER_FILES = {
    **dict.fromkeys((".bin", ".pt", ".pth", ".ckpt"), PICKLED),
    ".h5": _HDF5,
    ".keras": "a whole model. Load it by keras.models.load_model.",
    ".npz": _MODEL,
    ".sbs": _MODEL,
    ".gguf": "a file of llama.cpp, which is not read.",
}


class Factors(NamedTuple):
    """What LoRA adds to one kernel: `scale * a @ b`.

    Attributes:
        a: float32[D, R].
        b: float32[R, F].
        alpha: the scale is alpha / R.
    """

    a: np.ndarray
    b: np.ndarray
    alpha: float

    @property
    def rank(self) -> int:
        return self.a.shape[1]

    def delta(self) -> np.ndarray:
        """float32[D, F], to be added to the kernel."""
        return (self.alpha / self.rank) * (self.a @ self.b)


class Base(NamedTuple):
    """The model an adapter is for.

    Attributes:
        name: of its checkpoint, for messages; "" where it is not known.
        architecture: Architecture of its network; None if it is unknown.
        hashes: of groups of its weights, by the group.
    """

    name: str = ""
    architecture: Architecture | None = None
    hashes: Mapping[str, str] = {}


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        layers: the factors by the path of their layer in the backbone.
        targets: what was asked for when it was made, for the record.
        base: the model it was trained on.
        dropout: of the input of its factors, in training.
    """

    layers: Mapping[str, Factors]
    targets: tuple[str, ...] = ()
    base: Base = field(default_factory=Base)
    dropout: float = 0.0

    def settings(self) -> dict[str, tuple[int, float]]:
        """Rank and alpha by layer."""
        return {path: (f.rank, float(f.alpha)) for path, f in self.layers.items()}

    def describe(self) -> str:
        """Its size in a few words."""
        ranks = in_words(factors.rank for factors in self.layers.values())
        alphas = in_words(factors.alpha for factors in self.layers.values())
        return f"rank {ranks}, alpha {alphas}, {len(self.layers)} layers"


def in_words(values: Iterable[float]) -> str:
    """The different ones of some numbers: "8", or "4, 8"."""
    return ", ".join(f"{number:g}" for number in sorted(set(values)))


def factor_tensors(adapter: Adapter) -> dict[str, np.ndarray]:
    """Return the factors by `<path of the layer>/<name>`, in float32."""
    return {
        f"{layer}/{name}": np.ascontiguousarray(value, np.float32)
        for layer, factors in adapter.layers.items()
        for name, value in zip(KERNELS, factors)
    }


def write_adapter(adapter: Adapter, path: Path, overwrite: bool = False) -> None:
    """Writes an adapter; the file appears whole or not at all.

    Raises:
        ValueError: when the name does not end in .safetensors, or a number is NaN.
        FileExistsError: when there is something at the path.
    """
    if path.suffix.lower() != ENDING:
        raise ValueError(
            f"Expected a file that ends in {ENDING} for an adapter. Received: {path}."
        )
    tensors = factor_tensors(adapter)
    check_finite(tensors, "Train again with a lower learning rate.")
    factors_of = adapter.layers.values()
    metadata = {
        "format": FORMAT,
        "rank": in_words(factors.rank for factors in factors_of),
        "alpha": in_words(factors.alpha for factors in factors_of),
        "alphas": json.dumps({k: float(f.alpha) for k, f in adapter.layers.items()}),
        "targets": json.dumps(adapter.targets),
        "dropout": json.dumps(adapter.dropout),
        "base_name": adapter.base.name,
        "base_numbers": json.dumps(adapter.base.architecture),
        "base_hashes": json.dumps(dict(adapter.base.hashes)),
    }
    with staged(path, overwrite, sum(t.nbytes for t in tensors.values())) as part:
        save_file(tensors, part, metadata)


def read_adapter(path: Path) -> Adapter:
    """Reads a file of `write_adapter`.

    Raises:
        FileNotFoundError: when there is no file.
        ValueError: when it is cut off, no adapter, lacks one of two factors, or says of
            itself what cannot be; names the file and the field.
    """
    path = readable(path.parent) / path.name  # It may be a checkpoint of a run.
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an adapter file ({ENDING}), or a directory of PEFT with an "
            f"adapter_config.json, at {path}. There is none."
        )
    other = _OTHER_FILES.get(path.suffix.lower())
    if other is None and h5py.is_hdf5(path):
        other = _HDF5
    if other is not None:
        raise ValueError(
            f"Expected an adapter of `Adapters.save` ({ENDING}). Received: {path}, "
            f"{other}"
        )
    metadata = read_metadata(path)
    if metadata.value("format", None) != FORMAT:
        hint = ""
        if (path.parent / "adapter_config.json").is_file():
            hint = f" It is of PEFT: load the directory, {path.parent}."
        raise ValueError(
            f"Expected an adapter of `Adapters.save` in {path}, with the format "
            f"{FORMAT!r}. Received: {shown(metadata.value('format', None))}.{hint}"
        )
    parsed = parse_metadata(metadata, _PARSED)
    tensors = read_floats(path)
    check_finite(tensors, f"{path} is damaged, or its training diverged.")
    by_layer = {tuple(key.rsplit("/", 1)): value for key, value in tensors.items()}
    alphas = parsed.table("alphas", read_alpha)
    return Adapter(
        layers=pair_up(by_layer, KERNELS, alphas, path),
        targets=tuple(parsed.items("targets", Fields.text)),
        base=Base(
            metadata.text("base_name"),
            _read_architecture(parsed),
            parsed.table("base_hashes", Fields.text),
        ),
        dropout=read_dropout(parsed, "dropout"),
    )


def _read_architecture(fields: Fields) -> Architecture | None:
    """Return the architecture of a base, which is compared and never built."""
    found: Architecture | None = fields.table(
        "base_numbers", lambda parts, name: parts.table(name, Fields.value), None
    )
    if found is not None and found.keys() != set(_PARTS):
        raise fields.error("base_numbers", f"an object of {' and '.join(_PARTS)}")
    return found


def pair_up(
    tensors: Mapping[tuple[str, ...], np.ndarray],
    names: tuple[str, str],
    alphas: Mapping[str, float],
    path: Path,
) -> dict[str, Factors]:
    """The tensors of a file, by layer and name, as factors.

    Raises:
        ValueError: when a layer lacks one, has another, or they do not fit together.
    """
    wrong = sorted("/".join(key) for key in tensors if key[-1] not in names)
    layers = dict.fromkeys(key[0] for key in tensors)
    wrong += [
        f"{layer} without {name}"
        for layer in {**layers, **dict.fromkeys(alphas)}
        for name in names
        if (layer, name) not in tensors
    ]
    wrong += [f"{layer} without an alpha" for layer in layers if layer not in alphas]
    if wrong or not layers:
        raise ValueError(
            f"Expected {' and '.join(names)} and an alpha for every layer in {path}. "
            f"Received: {printable(', '.join(wrong[:8]) or 'nothing')}. "
            "Save the adapter again."
        )
    pairs = {}
    for layer in layers:
        a, b = (tensors[layer, name] for name in names)
        if (
            a.ndim != 2
            or b.ndim != 2
            or a.shape[1] != b.shape[0]
            or not min(*a.shape, *b.shape)
        ):
            raise ValueError(
                "Expected factors [inputs, rank] and [rank, outputs] of "
                f"{printable(layer)} in {path}. Received: {a.shape} and {b.shape}."
            )
        pairs[layer] = Factors(a, b, alphas[layer])
    return pairs
