"""Opening what was exported, by what runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_pg2.conversion.found_models import ExportedFiles

if TYPE_CHECKING:
    from keras_pg2.deploy.runners.runner import ExportedModel

RUNNERS = {"LiteRT": "LiteRTModel", "ONNX": "ONNXModel"}
"""Classes of `deploy.runners`, by the name of the runtime."""


def check_has_runner(found: ExportedFiles) -> None:
    """Raise ValueError if this package does not run what was exported."""
    if found.runtime.name not in RUNNERS:
        raise ValueError(
            f"Expected a checkpoint, a run, an adapter or files for "
            f"{' or '.join(RUNNERS)}. Received: {found.path}, for "
            f"{found.runtime.name}, which is run by {found.how_to_run()}. Take what it "
            "was exported from, or export it for one of these."
        )


def open_exported(found: ExportedFiles, with_codec: bool = False) -> ExportedModel:
    """Open an exported model.

    Args:
        found: What was exported.
        with_codec: Whether masks are decoded: by the codec in its directory, or if
            there is none the released one.

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

    model: ExportedModel = getattr(runners, RUNNERS[found.runtime.name])(found.path)
    if with_codec:
        own = DetectionFiles(PresetFiles.read(found.path)).mask_codec
        model.mask_codec = own or MaskCodec.released()
    return model
