"""The datasets of HDF5 files that come from a stranger.

A file of HDF5 can name others: by links, by datasets whose numbers lie elsewhere, and
by virtual ones, which are made of other datasets. It can claim gigabytes in few bytes,
by what was never written and by filters. Keras refuses some of it when it reads a
variable; here a file is looked at before anything is read.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5z

from keras_pg2.checks.texts import printable, shown
from keras_pg2.files.named_files import check_is_file, indexed_files
from keras_pg2.files.unpacking import check_expansion

_MAX_LINKS = 20_000
"""Groups and datasets of a file; models have some thousand."""
_MAX_DEPTH = 64
"""Groups in groups; models have some eight."""
_MAX_PATH = 4096
"""Bytes of a path; those of models have a hundred."""
_FEW_CHUNKS = 1000
_LEAST_CHUNK = 4096
"""Mean bytes of the chunks of files with more; h5py takes 8 KiB and more by itself."""
_DEFLATE = h5z.FILTER_DEFLATE
_FILTERS = (_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
"""What others save with. Of unknown filters HDF5 would look for code to load."""
_CHECKSUM_BYTES = 4
_NUMBERS = "fiubV"
"""Kinds of types; V are raw bytes, as of bfloat16."""


def check_saved_weights(path: Path) -> dict[str, tuple[int, ...]]:
    """Check the files that `load_weights` of Keras is to read.

    Returns:
        The shapes of what they hold, by its path in a file.

    Args:
        path: A file of weights, or the index of several.

    Raises:
        OSError, ValueError: as `opened_hdf5` and `indexed_files`.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in indexed_files(path) if path.suffix == ".json" else [path]:
        with opened_hdf5(file) as datasets:
            shapes |= {name: dataset.shape for name, dataset in datasets.items()}
    return shapes


@contextmanager
def opened_hdf5(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Open a file, and yield its datasets by their paths in it.

    Raises:
        OSError: if it is no file, or HDF5 cannot read it.
        ValueError: if it names other files, or a dataset holds no numbers, was not
            written as a whole, or is packed by what nobody needs for weights.
    """
    check_is_file(path)
    with _named(path):
        file = h5py.File(path, "r")  # Compares its size with the one written.
    with file:
        with _named(path):
            datasets = _find_datasets(file)
            for name, dataset in datasets.items():
                _check(name, dataset)
            _check_chunks(datasets, path.stat().st_size)
        yield datasets


def read_dataset(path: Path, name: str) -> Any:
    """Return the numbers of a dataset of a file that has been checked.

    Raises:
        OSError: if HDF5 cannot read it.
    """
    with _named(path), h5py.File(path, "r") as file:
        return file[name][()]


class _RefusedError(Exception):
    """What HDF5 would read, but should not."""


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in whatever is raised."""
    try:
        yield
    except _RefusedError as error:
        raise ValueError(
            f"Expected weights in {path}, and all of them there. Received: "
            f"{printable(error)}. Save the model again."
        ) from error
    except Exception as error:  # h5py raises a dozen kinds, by the damage.
        raise OSError(
            f"Expected a whole HDF5 file at {path}, which is truncated or damaged "
            f"({printable(error):.200}). Copy or download it again."
        ) from error


def _find_datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the datasets, whose paths are no links to elsewhere.

    Goes from group to group: HDF5's own visit calls itself for every level, until the
    stack of the process ends, and looks each path up from the root.
    """
    found: dict[str, h5py.Dataset] = {}
    num_links = 0
    groups = [(file.id, b"", 1)]
    h5o.get_info(file.id)  # Reads all of an index, as HDF5's own visit does.
    while groups:
        group, path, depth = groups.pop()
        num_links += group.get_num_objs()
        if num_links > _MAX_LINKS:
            raise _RefusedError(f"more than {_MAX_LINKS} groups and datasets")
        for name, link_type in _links(group):
            inside = path + name
            if len(inside) > _MAX_PATH:
                raise _RefusedError(f"a path of more than {_MAX_PATH} bytes")
            if link_type != h5l.TYPE_HARD:
                raise _RefusedError(f"{_shown(inside)}, a link to somewhere else")
            thing = h5o.open(group, name)
            h5o.get_info(thing)
            if isinstance(thing, h5g.GroupID):
                if depth == _MAX_DEPTH:
                    raise _RefusedError(f"groups in groups, more than {_MAX_DEPTH}")
                groups.append((thing, inside + b"/", depth + 1))
            elif isinstance(thing, h5d.DatasetID):
                found[_text(inside)] = h5py.Dataset(thing)
    return found


def _links(group: h5g.GroupID) -> list[tuple[bytes, int]]:
    """Return the names in a group, each with the type of its link."""
    found: list[tuple[bytes, int]] = []

    def add(name: bytes, info: Any) -> None:
        found.append((name, info.type))

    group.links.iterate(add, info=True)
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _shown(name: bytes) -> str:
    return shown(_text(name))


def _check(name: str, dataset: h5py.Dataset) -> None:
    """Check that a dataset holds numbers, all of them written, in the file."""
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL:
        raise _RefusedError(f"{shown(name)}, which is made of other datasets")
    if properties.get_external_count():
        raise _RefusedError(f"{shown(name)}, whose numbers are in another file")
    dtype = dataset.dtype
    is_numbers = dtype.kind in _NUMBERS and dtype.names is None
    if dataset.shape is None or not is_numbers:
        raise _RefusedError(f"{shown(name)} of {dtype!s:.80}, which are no weights")
    if dataset.chunks is not None:
        filters = _filters(dataset)
        if len(filters) > len(set(filters)) or not set(filters) <= set(_FILTERS):
            raise _RefusedError(f"{shown(name)}, packed by another filter than gzip")
        is_written = dataset.id.get_num_chunks() == _count_chunks(dataset)
    else:
        num_bytes = math.prod(dataset.shape) * dataset.id.get_type().get_size()
        is_written = dataset.id.get_storage_size() == num_bytes
    if not is_written:
        raise _RefusedError(f"{shown(name)}, of which not all was written")


def _filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _count_chunks(dataset: h5py.Dataset) -> int:
    sizes = zip(dataset.shape, dataset.chunks)
    return math.prod(-(-size // chunk) for size, chunk in sizes)


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    size: int = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    return size


def _check_chunks(datasets: dict[str, h5py.Dataset], file_bytes: int) -> None:
    """Check that chunks unpack to what they should: HDF5 itself has no limit."""
    in_chunks = {name: x for name, x in datasets.items() if x.chunks is not None}
    counts = {name: _count_chunks(x) for name, x in in_chunks.items()}
    sizes = {name: counts[name] * _chunk_bytes(x) for name, x in in_chunks.items()}
    try:
        check_expansion(sizes, file_bytes)
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    num_chunks = sum(counts.values())
    if num_chunks > _FEW_CHUNKS + sum(sizes.values()) // _LEAST_CHUNK:
        most = max(counts, key=lambda name: counts[name])
        raise _RefusedError(
            f"{num_chunks} chunks of few bytes, {counts[most]} of them of {shown(most)}"
        )
    for name, dataset in in_chunks.items():
        steps = zip(dataset.shape, dataset.chunks)
        filters, num_bytes = _filters(dataset), _chunk_bytes(dataset)
        for offset in product(*(range(0, size, chunk) for size, chunk in steps)):
            mask, content = dataset.id.read_direct_chunk(offset)
            if not _is_of_its_size(content, mask, filters, num_bytes):
                raise _RefusedError(
                    f"{shown(name)} with a chunk of another size than said"
                )


def _is_of_its_size(
    content: bytes, mask: int, filters: list[int], num_bytes: int
) -> bool:
    """Return whether a chunk has, unpacked, its bytes; `mask` has filters left out."""
    if _DEFLATE in filters and not mask >> filters.index(_DEFLATE) & 1:
        most = num_bytes + _CHECKSUM_BYTES + 1
        content = zlib.decompressobj().decompress(content, most)
    return num_bytes <= len(content) <= num_bytes + _CHECKSUM_BYTES
