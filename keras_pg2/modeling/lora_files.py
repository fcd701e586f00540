"""Files of LoRA factors in the layout of KerasHub's `Backbone.save_lora_weights`.

They name layers by their index among those that have weights, which says nothing
where a network is built in another order. Paths and alphas stand beside it here;
KerasHub reads past them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras

# KerasHub reads and writes these files by this class, for which Keras has no public
# name. It refuses files that point outside of themselves.
from keras.src.saving.saving_lib import H5IOStore

from keras_pg2.checks.numbers import MAX_LORA_ALPHA
from keras_pg2.checks.texts import printable
from keras_pg2.files.hdf5_datasets import check_saved_weights
from keras_pg2.files.hdf5_files import disk_file
from keras_pg2.files.whole_files import replaced
from keras_pg2.modeling.dense import FACTORS, Dense
from keras_pg2.modeling.lora import dense_by_path, freeze, lora_layers

if TYPE_CHECKING:
    from keras_pg2.modeling.backbone import PaliGemma2Backbone

ENDING = ".lora.h5"
_GROUP = "lora"
_ALPHA = "lora_alpha"
_PATH = "path"


def save_lora_weights(backbone: PaliGemma2Backbone, filepath: str | Path) -> None:
    """Write the factors; see `PaliGemma2Backbone.save_lora_weights`."""
    if not str(filepath).lower().endswith(ENDING):
        raise ValueError(
            f"Expected a file that ends in {ENDING}. Received: {filepath}."
        )
    layers = lora_layers(backbone)
    ranks = {layer.lora_rank for layer in layers.values()}
    if len(ranks) != 1:
        raise ValueError(
            "Expected LoRA of one rank in the network, as the file has one. Received: "
            f"{', '.join(map(str, sorted(ranks))) or 'none'}. "
            + (
                "PaliGemma2CausalLM.adapters.save keeps each rank."
                if ranks
                else "Call enable_lora(rank) first."
            )
        )
    trained = [variable.path for variable in backbone.trainable_variables]
    others = [path for path in trained if not path.endswith(FACTORS)]
    if others:
        raise ValueError(
            "Expected only LoRA's factors to be trainable, as the file keeps nothing "
            f"else. Received also: {', '.join(others[:4])} ({len(others)} such). Leave "
            "frozen what enable_lora froze, or use save_to_preset."
        )
    indices = {id(layer): i for i, layer in enumerate(_with_weights(backbone))}
    with replaced(Path(filepath)) as part, disk_file(part) as file:
        store = H5IOStore(file, mode="w")
        store.make(_GROUP)["rank"] = ranks.pop()
        for path, layer in layers.items():
            entry = store.make(f"{_GROUP}/{indices[id(layer)]}", {_PATH: path})
            for name in FACTORS:
                entry[name] = getattr(layer, name)
            entry[_ALPHA] = float(layer.lora_alpha)
        store.close()


def load_lora_weights(backbone: PaliGemma2Backbone, filepath: str | Path) -> None:
    """Read the factors; see `PaliGemma2Backbone.load_lora_weights`."""
    entries = _read(filepath)
    layers = _find_layers(backbone, entries, filepath)
    present = lora_layers(backbone)
    if present:
        _check_same(entries, layers, present, filepath)
    else:
        freeze(backbone)
        for index, layer in layers.items():
            a, _, alpha = entries[index][1:]
            layer.enable_lora(a.shape[1], alpha)
    for index, layer in layers.items():
        for name, value in zip(FACTORS, entries[index][1:3]):
            getattr(layer, name).assign(value)


def _with_weights(backbone: PaliGemma2Backbone) -> list[keras.layers.Layer]:
    """Return the layers that KerasHub counts, in its order."""
    layers = backbone._flatten_layers(include_self=False)  # noqa: SLF001
    return [layer for layer in layers if layer.weights]


class _Entry(NamedTuple):
    """What a file has of one layer.

    Attributes:
        path: Path of the layer; None in a file of KerasHub.
        a: float[D, R].
        b: float[R, F].
        alpha: The scale is alpha / R.
    """

    path: str | None
    a: Any
    b: Any
    alpha: float


def _read(filepath: str | Path) -> dict[int, _Entry]:
    """Return what a file has, by the indices of layers.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is another file, or damaged; names it and the entry.
    """
    path = Path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file at {filepath}. There is none.")
    if path.suffix == ".safetensors":
        raise ValueError(
            f"Expected a file of save_lora_weights. Received: {path}, which "
            "PaliGemma2CausalLM.adapters.load reads."
        )
    entries, key = {}, "rank"
    try:
        check_saved_weights(path)
        store = H5IOStore(path, mode="r")
        try:
            rank = _number(store.get(_GROUP)["rank"], 1, 2**31 - 1)
            if rank != int(rank):
                raise ValueError(f"rank {rank}")
            for key in store.h5_file[_GROUP]:
                if key.isdecimal():
                    entries[int(key)] = _read_entry(store, key, rank)
        finally:
            store.close()
    except PermissionError:
        raise
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise ValueError(
            f"Expected a file of save_lora_weights at {filepath}. Received: one whose "
            f"{_GROUP}/{key} cannot be read ({printable(error)}). Save it again."
        ) from error
    return entries


def _read_entry(store: H5IOStore, key: str, rank: float) -> _Entry:
    entry = store.get(f"{_GROUP}/{key}")
    a, b = (entry[name] for name in FACTORS)
    for value, axis in ((a, 1), (b, 0)):
        if not keras.backend.is_float_dtype(value.dtype) or value.ndim != 2:
            raise ValueError(f"factors of {value.dtype}{list(value.shape)}")
        if value.shape[axis] != rank:
            raise ValueError(f"factors {a.shape} and {b.shape}, but a rank of {rank:g}")
        if not abs(value).max() < math.inf:
            raise ValueError("NaN or infinity in its factors")
    alpha = _number(entry[_ALPHA], 0, MAX_LORA_ALPHA) if _ALPHA in entry else rank
    path = store.h5_file[f"{_GROUP}/{key}/vars"].attrs.get(_PATH)
    if not (path is None or isinstance(path, str)) or not alpha:
        raise ValueError(f"path {path!r:.80}, alpha {alpha}")
    return _Entry(path, a, b, alpha)


def _number(value: Any, at_least: float, at_most: float) -> float:
    if value.shape != () or value.dtype.kind not in "iuf":
        raise ValueError(f"a number, received {value.dtype}{list(value.shape)}")
    number = float(value)
    if not at_least <= number <= at_most:
        raise ValueError(f"a number in [{at_least}, {at_most:g}], received {number}")
    return number


def _find_layers(
    backbone: PaliGemma2Backbone, entries: dict[int, _Entry], filepath: str | Path
) -> dict[int, Dense]:
    """Return the layer of each entry.

    Raises:
        ValueError: if one is not there, or has another shape.
    """
    dense, in_order = dense_by_path(backbone), _with_weights(backbone)
    found: dict[int, Dense] = {}
    wrong = []
    for index, (path, a, b, _) in entries.items():
        layer = dense.get(path) if path is not None else None
        if path is None and index < len(in_order):
            layer = in_order[index]
        if not isinstance(layer, Dense):
            wrong.append(f"{path or f'layer {index}'}, which is not here")
            continue
        shape = (layer.input_spec.axes[-1], layer.units)
        if (a.shape[0], b.shape[1]) != shape or a.shape[1] != b.shape[0]:
            wrong.append(f"{layer.path} {a.shape} @ {b.shape}, here {shape}")
        found[index] = layer
    if wrong or not found:
        raise ValueError(
            f"Expected factors of this network in {filepath}. Received: "
            f"{'; '.join(wrong[:4]) or 'none'} ({len(wrong)} such). Load the model "
            "that they were trained on."
        )
    return found


def _check_same(
    entries: dict[int, _Entry],
    layers: dict[int, Dense],
    present: dict[str, Dense],
    filepath: str | Path,
) -> None:
    """Raise ValueError if a file has other layers, ranks or alphas than a network."""
    theirs = {
        layers[index].path: (a.shape[1], alpha)
        for index, (_, a, _, alpha) in entries.items()
    }
    ours = {
        path: (layer.lora_rank, float(layer.lora_alpha))
        for path, layer in present.items()
    }
    different = [
        path for path in {**theirs, **ours} if theirs.get(path) != ours.get(path)
    ]
    if different:
        path = different[0]
        raise ValueError(
            f"Expected the network's LoRA in {filepath}. Received: {path} with rank "
            f"and alpha {theirs.get(path, 'missing')}, here "
            f"{ours.get(path, 'missing')} ({len(different)} such). Load the file "
            "into a model without LoRA, which it adds."
        )
