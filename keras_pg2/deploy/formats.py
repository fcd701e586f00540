"""The formats a model can be exported to, and what each one needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from keras_pg2.checks.dtypes import check_quantization
from keras_pg2.files.whole_files import check_folders

if TYPE_CHECKING:
    from keras_pg2.tasks import PaliGemma2CausalLM


@dataclass(frozen=True)
class Format:
    """A kind of file or directory.

    Attributes:
        function: of `keras_pg2.deploy`, which takes a model, a path and, where there
            are several, a quantization.
        packages: that must be installed, as they are imported.
        extra: of this package, which brings them.
        quantizations: beside float32.
        backends: of Keras that can export to it.
    """

    function: str
    packages: tuple[str, ...]
    extra: str
    quantizations: tuple[str, ...] = ("float16", "int8", "int4")
    backends: tuple[str, ...] = ("jax", "tensorflow", "torch")

    def export(
        self, model: PaliGemma2CausalLM, path: Path, quantization: str | None
    ) -> object:
        """Write a model; `str` of what is returned says how the files compare."""
        function = getattr(import_module("keras_pg2.deploy"), self.function)
        if not self.quantizations:
            return function(model, path)
        return function(model, path, quantization)


_LITERT = ("tensorflow", "ai_edge_litert", "ai_edge_quantizer")
FORMATS = {
    "saved_model": Format(
        function="export_saved_model",
        packages=("tensorflow", "tensorflow_text"),
        extra="saved-model",
        quantizations=(),
        backends=("jax", "tensorflow"),
    ),
    "onnx": Format(
        function="export_onnx", packages=("onnx", "onnxruntime"), extra="onnx"
    ),
    "litert": Format(
        function="export_litert", packages=_LITERT, extra="tensorflow,litert"
    ),
    "litertlm": Format(
        function="export_litertlm",
        packages=(*_LITERT, "litert_lm_builder"),
        extra="tensorflow,litert",
    ),
}


def check_export(to: str, quantization: str | None, path: Path, backend: str) -> Format:
    """The format of a name, when nothing stands in the way of an export to it.

    Args:
        to: a name of `FORMATS`.
        quantization: None or "float32" for none.
        path: the file or directory to be.
        backend: of Keras.

    Raises:
        FileExistsError: when something is at `path`.
        NotADirectoryError: when a folder on the way to `path` is a file.
        ImportError: when a package is missing; says what to install.
        ValueError: for an unknown format, a quantization that it has not, or a backend
            that cannot export to it.
    """
    if to not in FORMATS:
        raise ValueError(
            f"Expected a format of {', '.join(FORMATS)}. Received: {to!r}. Checkpoints "
            "of other packages are written by `keras-pg2 convert`."
        )
    format = FORMATS[to]
    check_quantization(quantization, format.quantizations, f"quantization of {to}")
    if backend not in format.backends:
        raise ValueError(
            f"Expected the backend {' or '.join(format.backends)} for {to}. Received: "
            f"{backend!r}. Set KERAS_BACKEND={format.backends[0]}; weights saved on "
            "one backend load on the others."
        )
    missing = [name for name in format.packages if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Expected the packages {', '.join(format.packages)} for {to}. Received: "
            f"no {', '.join(missing)}. Run: pip install 'keras-pg2[{format.extra}]'"
        )
    if path.exists():
        raise FileExistsError(
            f"Expected to write {path}, which is there already. Choose another name, "
            "or remove it."
        )
    check_folders(path)
    return format
