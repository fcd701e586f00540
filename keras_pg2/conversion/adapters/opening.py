"""Adapters of either form: which file a path means, what it says, what it adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_pg2.conversion.adapters.bases import check_adapter_fits
from keras_pg2.conversion.adapters.files import (
    ADAPTER_FILE,
    ENDING,
    FORMAT,
    Adapter,
    read_adapter,
)
from keras_pg2.conversion.adapters.peft import check_peft_files, read_peft
from keras_pg2.conversion.adapters.peft_config import CONFIG_FILE, read_peft_config
from keras_pg2.conversion.adapters.runs import read_run, trained_length
from keras_pg2.conversion.adapters.tensors import read_metadata
from keras_pg2.conversion.tables.checkpoint import Checkpoint
from keras_pg2.conversion.tables.weight_table import Row
from keras_pg2.files.user_paths import user_path
from keras_pg2.files.whole_files import readable
from keras_pg2.typing import Architecture


def is_adapter(path: Path) -> bool:
    """Return whether something is an adapter: a file of ours, or a directory with one.

    A file that ends in .safetensors counts if its metadata say so, a directory if there
    is no configuration of a model in it.

    Raises:
        ValueError: if such a file is cut off.
    """
    if path.is_dir():
        names = (ADAPTER_FILE, CONFIG_FILE)
        is_model = (path / "config.json").is_file()
        return not is_model and any((path / name).is_file() for name in names)
    if path.suffix.lower() != ENDING or not path.is_file():
        return False
    return read_metadata(path).value("format", None) == FORMAT


def find_adapter(path: str | Path) -> Path:
    """Return the file of an adapter, or the directory of PEFT, that a path means.

    Args:
        path: A file of `Adapters.save`, the folder of a fine-tuning run or one of its
            checkpoints, or a directory of PEFT.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if it is a run without an adapter, as it trained whole weights or
            has not ended.
    """
    path = readable(user_path(path))
    if not path.exists():
        raise FileNotFoundError(
            f"Expected an adapter file ({ENDING}), the folder of a fine-tuning run or "
            f"a directory of PEFT at {path}. There is none. Check the path."
        )
    run = read_run(path)
    if run is not None and not run.trains_lora:
        raise ValueError(
            f"Expected an adapter. Received: {path}, a run that trained whole weights "
            "(--full). Take it as the model itself (--preset, from_preset)."
        )
    if run is not None:
        return run.result()
    return path / ADAPTER_FILE if (path / ADAPTER_FILE).is_file() else path


def adapter_name(path: Path) -> str:
    """Return what an adapter is called without a name of its own: as its file, or run.

    Args:
        path: Adapter, as `find_adapter` returns it.
    """
    path = path.resolve()
    if path.name == ADAPTER_FILE:
        return path.parent.name
    return path.stem if path.suffix.lower() == ENDING else path.name


def read_any(path: Path, architecture: Architecture) -> Adapter:
    """Read the adapter of a path that `find_adapter` has returned.

    Raises:
        FileNotFoundError, ValueError: as `read_adapter` and `read_peft`.
    """
    return read_peft(path, architecture) if path.is_dir() else read_adapter(path)


def base_name(path: Path) -> str:
    """Return what such an adapter calls the model it was trained on; "" for nothing.

    Raises:
        OSError, ValueError: if what describes it cannot be read.
    """
    if path.is_dir():
        check_peft_files(path)
        return read_peft_config(path).base
    name: str = read_metadata(path).text("base_name", "")
    return name


def with_adapter(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Return a checkpoint of which reading a kernel adds what an adapter adds to it.

    Sums are computed in float32, as `Adapters.merge` computes them.

    Args:
        checkpoint: Opened with its weights, of which hashes are compared.
        path: Adapter, as `find_adapter` returns it.

    Raises:
        FileNotFoundError, ValueError: if the adapter is damaged, or for another model,
            or the checkpoint is quantized.
    """
    if checkpoint.policies is not None:
        raise ValueError(
            f"Expected kernels of floats, to add the adapter {path} to them. Received: "
            f"{checkpoint.path}, a quantized preset. Take the preset it was quantized "
            "from, or load the adapter beside its kernels (adapters.load)."
        )
    adapter = read_any(path, checkpoint.architecture)
    check_adapter_fits(adapter, checkpoint, path)
    rows = [_added(row, adapter) for row in checkpoint.rows]
    preprocessing = checkpoint.preprocessing
    length = max(preprocessing.sequence_length, trained_length(path))
    preprocessing = replace(preprocessing, sequence_length=length)
    return replace(checkpoint, rows=rows, preprocessing=preprocessing)


def _added(row: Row, adapter: Adapter) -> Row:
    layer, _, name = row.ours.rpartition("/")
    factors = adapter.layers.get(layer)
    if factors is None or name != "kernel":
        return row
    transform = row.transform

    def forward(tensor: np.ndarray) -> np.ndarray:
        return transform.forward(tensor).astype(np.float32) + factors.delta()

    name = f"{transform.name} and an adapter"
    return row._replace(transform=replace(transform, name=name, forward=forward))
