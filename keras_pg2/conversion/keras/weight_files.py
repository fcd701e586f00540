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

from keras_pg2.checks.texts import printable, shown
from keras_pg2.conversion.tables.blocks import (
    Block,
    BlockSource,
    check_apart,
    check_block,
)
from keras_pg2.conversion.tables.number_types import DTYPES, as_weights
from keras_pg2.conversion.tables.outgoing import Outgoing, in_shards
from keras_pg2.conversion.tables.weight_table import Part
from keras_pg2.files.hdf5_datasets import opened_hdf5, read_dataset
from keras_pg2.files.hdf5_files import new_hdf5
from keras_pg2.files.named_files import file_inside, indexed_files
from keras_pg2.files.opened_files import OpenedFile
from keras_pg2.typing import Advance

SINGLE_FILE = "model.weights.h5"
INDEX_FILE = "model.weights.json"

MAX_SHARD_BYTES = 10 * 1024**3
"""What KerasHub's `save_to_preset` puts into one file at most."""


class KerasWeightsSource(BlockSource):
    """The datasets of a directory's weight files by their paths.

    Args:
        directory: holds `model.weights.h5`, or `model.weights.json` and shards.

    Raises:
        FileNotFoundError: when there are no weights, or a shard is missing.
        OSError: when a file is truncated or no HDF5.
        ValueError: when a file is one that `opened_hdf5` refuses, a dataset has two
            types, or two shards hold the same variable.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._only_hdf5: set[str] = set()
        for path in weight_files(directory):
            file = OpenedFile(path)
            with opened_hdf5(path) as datasets:
                for key, dataset in datasets.items():
                    if key in self._blocks:
                        raise ValueError(
                            f"Expected each variable in one file of {directory}, but "
                            f"{key} is in two. Remove weights of another download."
                        )
                    self._add(key, dataset, file)
            file.check_in_place()
            self._check_places(file)

    def read(self, key: str, part: Part | None = None) -> np.ndarray:
        if key not in self._only_hdf5:
            return super().read(key, part)
        block = self._blocks[key]
        value = read_dataset(block.path, key)
        block.file.check_in_place()
        value = as_weights(value.view(block.dtype))
        return value if part is None else part.take(value)

    def _add(self, key: str, dataset: h5py.Dataset, file: OpenedFile) -> None:
        dtype = _number_type(key, dataset, file.path)
        offset = dataset.id.get_offset()
        if offset is None or not _is_plain(dataset):
            self._only_hdf5.add(key)
            offset = 0
        self._blocks[key] = Block(file, offset, dataset.shape, dtype)

    def _check_places(self, file: OpenedFile) -> None:
        """Check that what is read without HDF5 is apart, and in the file."""
        blocks = {
            key: block
            for key, block in self._blocks.items()
            if block.file is file and key not in self._only_hdf5
        }
        try:
            for key, block in blocks.items():
                check_block(key, block)
            check_apart({key: (b.offset, b.end) for key, b in blocks.items()})
        except ValueError as error:
            raise ValueError(
                f"Expected a whole HDF5 file at {file.path}, but {printable(error)}. "
                "Copy or download it again."
            ) from error


def _number_type(key: str, dataset: h5py.Dataset, path: Path) -> np.dtype:
    """Return the type of a dataset's numbers; an attribute has the name of bfloat16."""
    noted = str(dataset.dtype)
    if "dtype" in dataset.attrs:
        is_name = dataset.attrs.get_id("dtype").shape == ()
        noted = str(dataset.attrs["dtype"]) if is_name else "an array"
    is_raw = dataset.dtype.kind == "V"
    if is_raw and dataset.dtype.itemsize == 2 and noted == "bfloat16":
        return DTYPES["bfloat16"]
    if is_raw or noted != str(dataset.dtype):
        raise ValueError(
            f"Expected {shown(key)} in {path} of the type that it is noted as, "
            f"{shown(noted)}. "
            f"Received: {dataset.dtype}. Save the model again."
        )
    return dataset.dtype


def _is_plain(dataset: h5py.Dataset) -> bool:
    """Return whether the numbers stand in the file as in memory."""
    if dataset.dtype.kind == "V":
        return True
    return bool(dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype))


def weight_files(directory: Path) -> list[Path]:
    """The one weight file, or the shards that the index names, all present.

    Raises:
        FileNotFoundError: naming the files that are missing.
        OSError: when one is no file.
        ValueError: when the index is no index, or leads out of the directory.
    """
    index = directory / INDEX_FILE
    if index.is_file():
        return indexed_files(index)
    if not (directory / SINGLE_FILE).exists():
        raise FileNotFoundError(
            f"Expected the weight file {directory / SINGLE_FILE}, which is missing. "
            "Copy or download it again, or pass load_weights=False for random weights."
        )
    return [file_inside(directory, SINGLE_FILE)]


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
