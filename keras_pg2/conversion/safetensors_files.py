"""safetensors files: their headers, and writing them tensor by tensor.

A file is 8 bytes of header length, a JSON header {key: {dtype, shape,
data_offsets}} and the tensors (github.com/huggingface/safetensors, "Format"). Its
own library maps files into memory, which then counts as memory of the process, and
writes only what is in memory as a whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pg2.conversion.tables.blocks import Block, BlockSource, as_bytes
from keras_pg2.conversion.tables.number_types import DTYPES
from keras_pg2.conversion.tables.outgoing import Outgoing, in_shards
from keras_pg2.files.json_files import read_json
from keras_pg2.typing import Advance

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
FLOAT_TYPES = {
    "F32": DTYPES["float32"],
    "BF16": DTYPES["bfloat16"],
    "F16": DTYPES["float16"],
}
_OTHER_TYPES = {
    "F64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
_NAMES = {dtype: name for name, dtype in FLOAT_TYPES.items()}

# What transformers writes by default ("5GB").
MAX_SHARD_BYTES = 5_000_000_000


class SafetensorsSource(BlockSource):
    """Tensors of one file or of all shards; headers are read, tensors are not.

    Args:
        directory: holds `model.safetensors`, or shards and their index.

    Raises:
        FileNotFoundError: when there are no weights, or a shard is missing.
        ValueError: when a file is cut off or no safetensors file, or two files hold
            the same tensor.
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


def weight_files(directory: Path) -> list[Path]:
    """Paths of the weights of a directory, all of them present.

    As in transformers, one whole file is taken before any shards and their index, and
    a tensor may stand in another shard than the index says.

    Raises:
        FileNotFoundError: when there are none, or shards of the index are missing.
        ValueError: when the index is no index.
    """
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    if single.exists():
        return [single]
    if not index.exists():
        other = sorted(p.name for p in directory.glob("*.bin"))
        raise FileNotFoundError(
            f"Expected {SINGLE_FILE} or {INDEX_FILE} in {directory}, found neither. "
            + (f"Save {', '.join(other)} as safetensors first." if other else "")
        )
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ValueError(f"Expected a weight_map in {index}. Download it again.")
    # Paths, as some tools write "./" before the names.
    paths = sorted({directory / name for name in weight_map.values()})
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected the {len(paths)} weight files that {INDEX_FILE} lists in "
            f"{directory}, but {len(missing)} of them are missing: "
            f"{', '.join(missing)}. Download them again."
        )
    return paths


def read_header(path: Path) -> dict[str, tuple[str, Block]]:
    """The tensors of a file: safetensors' name of the type, and the place.

    Tensors that are no floats have a dtype of raw bytes.

    Raises:
        ValueError: when the file is cut off, or is no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start == b"version ":
            raise ValueError(
                f"Expected weights in {path}, found a Git LFS pointer to them. Run "
                "`git lfs pull` in the repository."
            )
        length = int.from_bytes(start, "little")
        try:
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise ValueError(f"the header would have {length} bytes")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = {
                key: _entry(path, 8 + length, entry) for key, entry in header.items()
            }
            end = max((b.offset + b.num_bytes for _, b in found.values()), default=0)
            if end > size:
                raise ValueError(f"its tensors would end at byte {end}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"Expected a complete safetensors file, but {path} ({size} bytes) is "
                f"cut off or is none: {error}. Download it again."
            ) from error
    return found


def _entry(path: Path, start: int, entry: dict[str, Any]) -> tuple[str, Block]:
    name, shape = entry["dtype"], tuple(entry["shape"])
    first, last = entry["data_offsets"]
    dtype = FLOAT_TYPES.get(name) or np.dtype(f"V{_OTHER_TYPES.get(name, 1)}")
    block = Block(path=path, offset=start + first, shape=shape, dtype=dtype)
    if name in FLOAT_TYPES and block.num_bytes != last - first:
        raise ValueError(f"{last - first} bytes for a {name} tensor of shape {shape}")
    return name, block


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
