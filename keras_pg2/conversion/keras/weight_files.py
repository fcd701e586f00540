"""Weight files of Keras: `model.weights.h5`, or shards and `model.weights.json`.

A variable is a dataset at `layers/<layer>/.../vars/<number>` (keras
`saving/saving_lib.py`). bfloat16 stands as two raw bytes and an attribute `dtype`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from keras_pg2.conversion.tables.blocks import Block, BlockSource
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.outgoing import Outgoing, in_shards
from keras_pg2.conversion.tables.weight_table import Part
from keras_pg2.files.hdf5_files import new_hdf5
from keras_pg2.files.json_files import read_json
from keras_pg2.typing import Advance

SINGLE_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"

_ONLY_HDF5 = -1
"""Offset of a dataset that is compressed or in chunks, which HDF5 has to read."""

MAX_SHARD_BYTES = 10 * 1024**3
"""What KerasHub's `save_to_preset` puts into one file at most."""


class KerasWeightsSource(BlockSource):
    """The datasets of a directory's weight files by their paths.

    Args:
        directory: holds `model.weights.h5`, or `model.weights.json` and shards.

    Raises:
        FileNotFoundError: when there are no weights, or a shard is missing.
        OSError: when a file is truncated or no HDF5.
        ValueError: when two shards hold the same variable.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        for path in weight_files(directory):
            for key, block in _read_datasets(path).items():
                if key in self._blocks:
                    raise ValueError(
                        f"Expected each variable in one file of {directory}, but {key} "
                        "is in two. Remove weights of another download."
                    )
                self._blocks[key] = block

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        block = self._blocks[key]
        if block.offset != _ONLY_HDF5:
            return block.read(part)
        with h5py.File(block.path, "r") as file:
            value = file[key][()].view(block.dtype)
        return value if part is None else part.take(value)


def weight_files(directory: Path) -> list[Path]:
    """The one weight file, or the shards that the index names, all present.

    Raises:
        FileNotFoundError: naming the files that are missing.
        ValueError: when the index is no index.
    """
    index = directory / INDEX_FILE
    names = {SINGLE_FILE}
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"Expected a weight_map in {index}. Copy it again.")
        names = set()
        for files in weight_map.values():
            names.update([files] if isinstance(files, str) else files)
    missing = sorted(name for name in names if not (directory / name).is_file())
    if missing:
        raise FileNotFoundError(
            f"Expected the weight file {directory / missing[0]}, which is missing "
            f"({len(missing)} of {len(names)} are). Copy or download it again, or pass "
            "load_weights=False for random weights."
        )
    return [directory / name for name in sorted(names)]


def _read_datasets(path: Path) -> dict[str, Block]:
    blocks: dict[str, Block] = {}

    def visit(key: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        name = item.attrs.get("dtype", str(item.dtype))
        dtype = DTYPES.get(name, item.dtype)
        offset = item.id.get_offset() if item.dtype.isnative else None
        offset = _ONLY_HDF5 if offset is None else offset
        blocks[key] = Block(path=path, offset=offset, shape=item.shape, dtype=dtype)

    try:
        with h5py.File(path, "r") as file:  # Compares its size with the one written.
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises all three.
        raise OSError(
            f"Expected a whole HDF5 weight file at {path}, which is truncated or "
            f"damaged ({error}). Copy or download it again."
        ) from error
    return blocks


def write_keras_weights(
    directory: Path,
    tensors: Sequence[Outgoing],
    layer_names: dict[str, str],
    advance: Advance,
) -> None:
    """Writes what `save_weights` writes: one file, or shards and an index.

    The keys of the tensors are paths of datasets; `layer_names` has the name of the
    layer of each, which Keras notes down.
    """
    shards = in_shards(tensors, MAX_SHARD_BYTES)
    if len(shards) == 1:
        _write_file(directory / SINGLE_FILE, tensors, layer_names, advance)
        return
    weight_map: dict[str, list[str]] = {}
    for i, shard in enumerate(shards):
        name = f"model_{i:05d}.weights.h5"
        _write_file(directory / name, shard, layer_names, advance)
        for tensor in shard:
            files = weight_map.setdefault("/" + tensor.key.rpartition("/")[0], [])
            if name not in files:
                files.append(name)
    total = sum(tensor.num_bytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=4))


def _write_file(
    path: Path,
    tensors: Sequence[Outgoing],
    layer_names: dict[str, str],
    advance: Advance,
) -> None:
    with new_hdf5(path) as file:
        for tensor in tensors:
            dataset = file.create_dataset(tensor.key, tensor.shape, tensor.dtype)
            if tensor.dtype == DTYPES["bfloat16"]:
                dataset.attrs["dtype"] = "bfloat16"
            dataset.parent.attrs["name"] = layer_names[tensor.key]
            start = 0
            for block in tensor.blocks():
                rows = block if block.ndim == len(tensor.shape) else block[None]
                dataset[start : start + len(rows)] = rows
                start += len(rows)
                advance(block.nbytes)
