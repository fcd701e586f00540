"""Weights of the mask codec in the layout of `vae-oid.npz`.

Names are those of a PyTorch `Sequential`, kernels are [out, in, height, width], those
of transposed convolutions [in, out, height, width]; transposed to (2, 3, 1, 0) both are
what Keras wants. Widths and kernel sizes are read from the arrays.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.lib import format as npy_format

from keras_pg2.checks.texts import printable, shown
from keras_pg2.codecs.mask_network import (
    MaskNetwork,
    MaskNetworkConfig,
    named_convolutions,
)
from keras_pg2.codecs.segment_tokens import NUM_CODES
from keras_pg2.files.json_files import read_file
from keras_pg2.files.whole_files import replaced

RELEASED = "gs://big_vision/paligemma/vae-oid.npz"
"""The codec that the released checkpoints were trained with."""
_CODEBOOK = "_vq_vae._embedding"
_DOWN = tuple(f"encoder.{i}" for i in (0, 2, 4, 6))
_MOST_BYTES = 200_000_000
"""Bound of a codec's arrays; the released one has a tenth."""
_MOST_ARRAYS = 1000


def read_network(source: str | Path) -> MaskNetwork:
    """A network with the weights of a file.

    Args:
        source: a path, `hf://owner/repository/file.npz`, `https://...` or `gs://...`;
            what is downloaded is kept in the user's cache.

    Raises:
        FileNotFoundError: when there is no such file.
        ConnectionError: when it cannot be downloaded.
        ValueError: when it is no .npz, an array is missing, unknown, of a wrong shape,
            or not finite.
    """
    path = _local_file(source)
    return parse_network(read_file(path, _MOST_BYTES), path)


def parse_network(content: bytes, path: str | Path) -> MaskNetwork:
    """Return a network with the weights in a file's content; errors name the path.

    Raises:
        ValueError: as `read_network`.
    """
    arrays = _read_arrays(content, path)
    try:
        configuration = _infer_configuration(arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            f"Expected the arrays of a mask codec (as in {RELEASED}). Received: {path} "
            f"with {', '.join(map(shown, sorted(arrays)[:6]))}...: {printable(error)}."
        ) from error
    for key, shape in _kernel_shapes(configuration).items():
        found = arrays[key].shape if key in arrays else "nothing"
        if found != shape:  # The network that others speak of may be of any size.
            raise ValueError(
                f"Expected numbers of shape {shape} as {key} of {path}, as its other "
                f"arrays say. Received: {found}."
            )
    network = MaskNetwork(configuration)
    wanted = _variables(network)
    missing, unknown = wanted.keys() - arrays.keys(), arrays.keys() - wanted.keys()
    if missing or unknown:
        raise ValueError(
            f"Expected the arrays of a mask codec (as in {RELEASED}). {path} lacks "
            f"{sorted(missing)[:9]} and has unknown {sorted(unknown)[:9]}."
        )
    for key, variable in wanted.items():
        value = _to_keras(arrays[key])
        if value.shape != tuple(variable.shape) or not np.isfinite(value).all():
            raise ValueError(
                f"Expected finite numbers of shape {_to_file(variable).shape} as {key} "
                f"of {path}, received shape {arrays[key].shape}."
            )
        variable.assign(value)
    return network


def write_network(network: MaskNetwork, path: str | Path) -> None:
    """Writes the file whole, or leaves what was there.

    Raises:
        ValueError: when the name does not end in `.npz`.
        OSError: when it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ValueError(f"Expected a file name ending in .npz, received {path}.")
    arrays: dict[str, Any] = {
        key: _to_file(variable) for key, variable in _variables(network).items()
    }
    # NumPy adds its ending to a path with another one, such as .NPZ.
    with replaced(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def _variables(network: MaskNetwork) -> dict[str, keras.Variable]:
    variables = {_CODEBOOK: network.codebook}
    for name, layer in named_convolutions(network):
        variables |= {f"{name}.weight": layer.kernel, f"{name}.bias": layer.bias}
    return variables


def _to_keras(array: np.ndarray) -> np.ndarray:
    transposed = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return transposed.astype(np.float32)


def _to_file(variable: keras.Variable) -> np.ndarray:
    array = ops.convert_to_numpy(variable)
    transposed = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return np.ascontiguousarray(transposed)


def _infer_configuration(arrays: dict[str, np.ndarray]) -> MaskNetworkConfig:
    codebook = arrays[_CODEBOOK]
    if codebook.ndim != 2 or len(codebook) != NUM_CODES:
        raise ValueError(
            f"{_CODEBOOK} has shape {codebook.shape}, not ({NUM_CODES}, width)"
        )
    down = [arrays[f"{name}.weight"] for name in _DOWN]
    kernels = [*down, arrays["encoder.10.weight"]]
    dims = [kernel.shape[0] for kernel in down]
    sizes = [kernel.shape[2] for kernel in kernels]
    hidden = arrays["decoder.0.weight"].shape[0]
    if not min(codebook.shape[1], hidden, *dims, *sizes) or hidden % 8:
        raise ValueError(f"widths {codebook.shape[1]}, {hidden}, {dims}, sizes {sizes}")
    return MaskNetworkConfig(
        codebook_dim=codebook.shape[1],
        hidden_dim=hidden,
        encoder_dims=(dims[0], dims[1], dims[2], dims[3]),
        encoder_kernel_sizes=(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]),
    )


def _kernel_shapes(
    configuration: MaskNetworkConfig,
) -> dict[str, tuple[int, int, int, int]]:
    """Return the shapes of kernels in a file, by which a network would be built."""
    *sizes, last = configuration.encoder_kernel_sizes
    code, hidden = configuration.codebook_dim, configuration.hidden_dim
    dims = configuration.encoder_dims
    shapes = {
        f"{name}.weight": (dim, inputs, size, size)
        for name, inputs, dim, size in zip(_DOWN, (1, *dims), dims, sizes)
    }
    shapes["encoder.10.weight"] = (code, dims[-1], last, last)
    shapes["decoder.0.weight"] = (hidden, code, 1, 1)
    for block, dim in (
        *((f"encoder.{i}", dims[-1]) for i in (8, 9)),
        *((f"decoder.{i}", hidden) for i in (2, 3)),
    ):
        for i, size in ((0, 3), (2, 3), (4, 1)):
            shapes[f"{block}.net.{i}.weight"] = (dim, dim, size, size)
    return shapes


def _read_arrays(content: bytes, path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz, which takes as much memory as it has bytes.

    NumPy would make room for whatever shape a header claims.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > _MOST_BYTES or len(members) > _MOST_ARRAYS:
                raise ValueError(
                    f"{len(members)} arrays of {total / 1e6:.1f} MB, while a codec has "
                    f"at most {_MOST_ARRAYS} of {_MOST_BYTES / 1e6:.0f} MB"
                )
            arrays = {}
            for member in members:
                key = member.filename.removesuffix(".npy")
                if key in arrays:
                    raise ValueError(f"two arrays are called {key!r:.80}")
                arrays[key] = _read_array(archive, member)
            return arrays
    # Damaged archives and headers of arrays raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"Expected a whole .npz of plain arrays. Received: {path} "
            f"({len(content)} bytes): {printable(error)}. Download it again."
        ) from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        version = npy_format.read_magic(file)
        read_header = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{member.filename!r:.80} is of version {version}")
        shape, is_fortran, dtype = read_header(file)
        data = file.read()
    if dtype.kind != "f" or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"{member.filename!r:.80} is {dtype}{list(shape)} in {len(data)} bytes, "
            "not floats"
        )
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _local_file(source: str | Path) -> Path:
    address = str(source)
    if address.startswith("hf://"):
        from keras_pg2.catalogue import download

        return download.download(address)
    if address.startswith("gs://"):
        address = "https://storage.googleapis.com/" + address.removeprefix("gs://")
    if address.startswith(("https://", "http://")):
        # Two addresses may end in one name.
        digest = hashlib.sha256(address.encode()).hexdigest()[:16]
        try:
            return Path(
                keras.utils.get_file(
                    f"{digest}-{Path(address).name}", address, cache_subdir="keras_pg2"
                )
            )
        except Exception as error:
            raise ConnectionError(
                f"Could not download {address}: {printable(error)}. Download it "
                "another way and pass its path."
            ) from error
    path = Path(address)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the .npz of a mask codec, found no file {path}. The released "
            f"one is {RELEASED}."
        )
    return path
