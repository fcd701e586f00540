"""Opening what was exported, by what runs it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from keras_pg2.conversion.found_models import ExportedFiles

if TYPE_CHECKING:
    from keras_pg2.deploy.runners.runner import ExportedModel


class Runner(NamedTuple):
    """What runs files for one runtime.

    Attributes:
        cls: Name of a class of `deploy.runners`.
        package: Package that it imports.
        extra: Extra of this package that brings it.
    """

    cls: str
    package: str
    extra: str


RUNNERS = {
    "LiteRT": Runner("LiteRTModel", "ai_edge_litert", "litert"),
    "ONNX": Runner("ONNXModel", "onnxruntime", "onnx"),
}
"""By the name of the runtime."""


def check_has_runner(found: ExportedFiles) -> None:
    """Check that this package, as it is installed, runs what was exported.

    Raises:
        ValueError: if it has no runner for it.
        ImportError: if what runs it is not installed; says what to install.
    """
    if found.runtime.name not in RUNNERS:
        raise ValueError(
            f"Expected a checkpoint, a run, an adapter or files for "
            f"{' or '.join(RUNNERS)}. Received: {found.path}, for "
            f"{found.runtime.name}, which is run by {found.how_to_run()}. Take what it "
            "was exported from, or export it for one of these."
        )
    runner = RUNNERS[found.runtime.name]
    if find_spec(runner.package) is None:
        raise ImportError(
            f"Expected the package {runner.package} to run {found.path}, which was "
            f"exported for {found.runtime.name}. Received: none. Run: pip install "
            f"'keras-pg2[{runner.extra}]'"
        )


def open_exported(found: ExportedFiles, with_codec: bool = False) -> ExportedModel:
    """Open an exported model.

    Args:
        found: What was exported.
        with_codec: Whether masks are decoded: by the codec in its directory, or
            without one by that of the released checkpoints.

    Raises:
        ValueError: if this package does not run it, or a file is damaged.
        FileNotFoundError: if a file is missing.
        ImportError: if what runs it is not installed; says what to install.
        ConnectionError: if the released codec is needed and cannot be downloaded.
    """
    check_has_runner(found)
    from keras_pg2.codecs.mask_codec import MaskCodec
    from keras_pg2.deploy import runners
    from keras_pg2.preprocessing.preset_files import PresetFiles
    from keras_pg2.tasks.answering.detection_files import DetectionFiles

    model: ExportedModel = getattr(runners, RUNNERS[found.runtime.name].cls)(found.path)
    if with_codec:
        own = DetectionFiles(PresetFiles.read(found.path)).mask_codec
        model.mask_codec = own or MaskCodec.released()
    return model
