"""Weights of the mask codec in the layout of `vae-oid.npz`.

Names are those of a PyTorch `Sequential`, kernels are [out, in, height, width], those
of transposed convolutions [in, out, height, width]; transposed to (2, 3, 1, 0) both are
what Keras wants. Widths and kernel sizes are read from the arrays.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pg2.codecs.mask_network import (
    MaskNetwork,
    MaskNetworkConfig,
    named_convolutions,
)
from keras_pg2.codecs.segment_tokens import NUM_CODES
from keras_pg2.files.whole_files import replaced

RELEASED = "gs://big_vision/paligemma/vae-oid.npz"
"""The codec that the released checkpoints were trained with."""
_CODEBOOK = "_vq_vae._embedding"
_DOWN = tuple(f"encoder.{i}" for i in (0, 2, 4, 6))


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
    return parse_network(path.read_bytes(), path)


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
            f"with {', '.join(sorted(arrays)[:6])}...: {error}."
        ) from error
    network = MaskNetwork(configuration)
    wanted = _variables(network)
    missing, unknown = wanted.keys() - arrays.keys(), arrays.keys() - wanted.keys()
    if missing or unknown:
        raise ValueError(
            f"Expected the arrays of a mask codec (as in {RELEASED}). {path} lacks "
            f"{sorted(missing)} and has unknown {sorted(unknown)}."
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
    return MaskNetworkConfig(
        codebook_dim=codebook.shape[1],
        hidden_dim=arrays["decoder.0.weight"].shape[0],
        encoder_dims=(dims[0], dims[1], dims[2], dims[3]),
        encoder_kernel_sizes=(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]),
    )


def _read_arrays(content: bytes, path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a whole .npz of plain arrays. Received: {path} "
            f"({len(content)} bytes): {error}. Download it again."
        ) from error


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
                f"Could not download {address}: {error}. Download it another way and "
                "pass its path."
            ) from error
    path = Path(address)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the .npz of a mask codec, found no file {path}. The released "
            f"one is {RELEASED}."
        )
    return path
