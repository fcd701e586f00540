"""safetensors files: their headers, and writing them tensor by tensor.

A file is 8 bytes of header length, a JSON header {key: {dtype, shape,
data_offsets}} and the tensors (github.com/huggingface/safetensors, "Format"). Its
own library decides what a header may say. It maps files into memory, which then counts
as memory of the process, and writes only what is in memory as a whole: so tensors are
read and written here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from keras_pg2.conversion.tables.blocks import (
    Block,
    BlockSource,
    as_bytes,
    check_block,
)
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.outgoing import Outgoing, in_shards
from keras_pg2.conversion.tables.weight_table import shorten
from keras_pg2.files.named_files import file_inside, indexed_files
from keras_pg2.files.opened_files import OpenedFile
from keras_pg2.typing import Advance

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FLOAT_TYPES = {
    "F32": DTYPES["float32"],
    "BF16": DTYPES["bfloat16"],
    "F16": DTYPES["float16"],
}
_MAX_TENSORS = 20_000
"""Bound of a file; models have a thousand."""
_MAX_HEADER_BYTES = 10_000_000
"""Bound of a header, whose tensors the library reads; those of models have 200 kB."""
_NAMES = {dtype: name for name, dtype in FLOAT_TYPES.items()}

# What transformers writes by default ("5GB").
MAX_SHARD_BYTES = 5_000_000_000


class SafetensorsSource(BlockSource):
    """Tensors of one file or of all shards; headers are read, tensors are not.

    Args:
        directory: holds `model.safetensors`, or shards and their index.

    Raises:
        FileNotFoundError: when there are no weights, or a shard is missing.
        ValueError: when a file is one that safetensors refuses, two files hold the
            same tensor, or the index leads out of the directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._types: dict[str, str] = {}
        for path in weight_files(directory):
            for key, (type_name, block) in read_header(path).items():
                if key in self._blocks:
                    raise ValueError(
                        f"Expected each tensor in one file of {directory}, but "
                        f"{key!r} is in two. Remove weights of another download."
                    )
                self._blocks[key] = block
                self._types[key] = type_name

    def type_name(self, key: str) -> str:
        """safetensors' name of a tensor's type, such as "BF16"."""
        return self._types[key]

    def stored_type(self, key: str) -> str:
        dtype = FLOAT_TYPES.get(self._types[key])
        return self._types[key] if dtype is None else str(dtype)


def weight_files(directory: Path) -> list[Path]:
    """Paths of the weights of a directory, all of them present.

    As in transformers, one whole file is taken before any shards and their index, and
    a tensor may stand in another shard than the index says.

    Raises:
        FileNotFoundError: when there are none, or shards of the index are missing.
        ValueError: when the index is no index, or leads out of the directory.
    """
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    if single.exists():
        return [file_inside(directory, SINGLE_FILE)]
    if not index.exists():
        other = sorted(p.name for p in directory.glob("*.bin"))
        raise FileNotFoundError(
            f"Expected {SINGLE_FILE} or {INDEX_FILE} in {directory}, found neither. "
            + (f"Save {', '.join(other)} as safetensors first." if other else "")
        )
    return indexed_files(index)


def read_header(path: Path) -> dict[str, tuple[str, Block]]:
    """The tensors of a file: safetensors' name of the type, and the place.

    Tensors that are no floats have a dtype of raw bytes.

    Raises:
        OSError: when it is no file, or changes meanwhile.
        ValueError: when safetensors itself would refuse the file, or it has more
            tensors than any model.
    """
    file = OpenedFile(path)
    start = file.read(0, min(8, file.size))
    if start == b"version ":
        raise ValueError(
            f"Expected weights in {path}, found a Git LFS pointer to them. Run "
            "`git lfs pull` in the repository."
        )
    try:
        found = _read_tensors(file, 8 + int.from_bytes(start, "little"))
        file.check_in_place()
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"Expected a complete safetensors file, but {path} ({file.size} bytes) is "
            f"cut off or is none: {shorten(str(error))}. Download it again."
        ) from error
    return found


def _read_tensors(file: OpenedFile, start: int) -> dict[str, tuple[str, Block]]:
    """Return the tensors of a file, which stand one after another from a byte on."""
    found = {}
    if _MAX_HEADER_BYTES < start <= file.size:
        raise ValueError(f"its header has {start - 8} bytes")
    # Whoever opens a file by the library knows that no byte is of two tensors or none.
    with safe_open(file.path, "numpy") as opened:
        if len(opened.keys()) > _MAX_TENSORS:
            raise ValueError(f"it has {len(opened.keys())} tensors")
        for key in opened.offset_keys():
            tensor = opened.get_slice(key)
            name, shape = tensor.get_dtype(), tuple(tensor.get_shape())
            dtype = FLOAT_TYPES.get(name) or _raw_type(name, key)
            block = Block(file, start, shape, dtype)
            check_block(key, block)
            found[key] = name, block
            start = block.end
    return found


def _raw_type(name: str, key: str) -> np.dtype:
    """Return raw bytes as long as a number of a type, such as "I16" or "F8_E4M3"."""
    bits = re.search(r"\d+", name)
    num_bytes, rest = divmod(int(bits[0]) if bits else 8, 8)
    if rest:
        raise ValueError(f"{key!r} is of {name}, which has less than a byte a number")
    return np.dtype(f"V{num_bytes}")


def write_safetensors(
    directory: Path, tensors: Sequence[Outgoing], advance: Advance
) -> None:
    """Writes tensors in their order, as the hub: one file, or shards and an index."""
    shards = in_shards(tensors, MAX_SHARD_BYTES)
    if len(shards) == 1:
        _write_file(directory / SINGLE_FILE, tensors, advance)
        return
    weight_map = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        _write_file(directory / name, shard, advance)
        weight_map.update({tensor.key: name for tensor in shard})
    total = sum(tensor.num_bytes for tensor in tensors)
    index = {
        "metadata": {
            "total_parameters": sum(math.prod(t.shape) for t in tensors),
            "total_size": total,
        },
        "weight_map": dict(sorted(weight_map.items())),
    }
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def _write_file(path: Path, tensors: Sequence[Outgoing], advance: Advance) -> None:
    # transformers refuses files that do not say who they are for.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.key] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.num_bytes],
        }
        offset += tensor.num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # Tensors begin at a multiple of 8 bytes.
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            for block in tensor.blocks():
                file.write(as_bytes(block))
                advance(block.nbytes)
