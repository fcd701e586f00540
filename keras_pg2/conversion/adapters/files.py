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

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from keras_pg2.conversion.safetensors_files import read_header
from keras_pg2.conversion.tables.number_types import is_finite
from keras_pg2.files.whole_files import recover, staged
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
_OTHER_FILES = {
    **dict.fromkeys((".bin", ".pt", ".pth"), PICKLED),
    ".h5": "a file of Keras. Files of save_lora_weights are read by "
    "model.backbone.load_lora_weights, weights by model.load_weights.",
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
    _check_finite(tensors, "Train again with a lower learning rate.")
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
        ValueError: when it is cut off, no adapter, or lacks one of two factors.
    """
    recover(path.parent)  # It may be a checkpoint of a run.
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an adapter file ({ENDING}), or a directory of PEFT with an "
            f"adapter_config.json, at {path}. There is none."
        )
    if path.suffix.lower() in _OTHER_FILES:
        raise ValueError(
            f"Expected an adapter of `Adapters.save` ({ENDING}). Received: {path}, "
            f"{_OTHER_FILES[path.suffix.lower()]}"
        )
    blocks = {key: block for key, (_, block) in read_header(path).items()}
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        hint = ""
        if (path.parent / "adapter_config.json").is_file():
            hint = f" It is of PEFT: load the directory, {path.parent}."
        raise ValueError(
            f"Expected an adapter of `Adapters.save` in {path}, with the format "
            f"{FORMAT!r}. Received: {metadata.get('format')!r}.{hint}"
        )
    tensors = {key: block.read().astype(np.float32) for key, block in blocks.items()}
    _check_finite(tensors, "The file is damaged, or its training diverged.")
    by_layer = {tuple(key.rsplit("/", 1)): value for key, value in tensors.items()}
    return Adapter(
        layers=pair_up(by_layer, KERNELS, json.loads(metadata["alphas"]), path),
        targets=tuple(json.loads(metadata["targets"])),
        base=Base(
            metadata["base_name"],
            json.loads(metadata["base_numbers"]),
            json.loads(metadata["base_hashes"]),
        ),
        dropout=json.loads(metadata.get("dropout", "0.0")),
    )


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
            f"Received: {', '.join(wrong[:8]) or 'nothing'}. Save the adapter again."
        )
    pairs = {}
    for layer in layers:
        a, b = (tensors[layer, name] for name in names)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(
                f"Expected factors [inputs, rank] and [rank, outputs] of {layer} in "
                f"{path}. Received: {a.shape} and {b.shape}."
            )
        pairs[layer] = Factors(a, b, alphas[layer])
    return pairs


def _check_finite(tensors: Mapping[str, np.ndarray], advice: str) -> None:
    for key, value in tensors.items():
        if not is_finite(value):
            raise ValueError(
                f"Expected finite numbers. Received: NaN or infinity in {key}. {advice}"
            )
