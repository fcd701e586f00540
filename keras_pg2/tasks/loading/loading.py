"""From a user's word for a model to a backbone and a preprocessor."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import override_architecture, variable_shapes
from keras_pg2.catalogue.names import Preset, locate, resolve
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.huggingface.reader import (
    is_huggingface_directory,
    read_huggingface_architecture,
    read_huggingface_preprocessing,
)
from keras_pg2.conversion.keras.preset import is_preset, is_quantized
from keras_pg2.conversion.tables.checkpoint import (
    Checkpoint,
    Preprocessing,
)
from keras_pg2.conversion.to_preprocessor import build_preprocessor
from keras_pg2.files.json_files import read_json
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.cpu import has_accelerator
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.loading.filling import build_backbone
from keras_pg2.tasks.quantizing import load_quantized
from keras_pg2.typing import Architecture

Preprocessor = PaliGemma2CausalLMPreprocessor | None


def load_parts(
    preset: str,
    load_weights: bool = True,
    dtype: Any = None,
    sequence_length: int | None = None,
    tokenizer: str | Path | None = None,
    **overrides: Any,
) -> tuple[PaliGemma2Backbone, Preprocessor]:
    """Loads what a task is made of; see `PaliGemma2CausalLM.from_preset`."""
    if dtype == "auto":
        dtype = "bfloat16" if has_accelerator() else "float32"
    found = resolve(preset)
    if not load_weights and isinstance(found, Preset):
        architecture = override_architecture(found.architecture, **overrides)
        return PaliGemma2Backbone(**architecture, dtype=dtype), None
    if sequence_length is None and isinstance(found, Preset):
        # The name of a directory in a download cache does not tell it.
        sequence_length = found.sequence_length
    path = locate(preset)
    if path.is_dir() and is_preset(path):
        backbone, preprocessor = _load_preset(path, load_weights, dtype, overrides)
    elif not load_weights and is_huggingface_directory(path):
        read = read_huggingface_architecture(path)
        architecture = override_architecture(read, **overrides)
        preprocessing = read_huggingface_preprocessing(path, architecture)
        backbone = PaliGemma2Backbone(**architecture, dtype=dtype)
        preprocessor = _preprocessor(preprocessing, architecture, path)
    else:
        checkpoint = _with_overrides(open_checkpoint(path, tokenizer), overrides)
        architecture = override_architecture(checkpoint.architecture)
        preprocessor = _preprocessor(checkpoint.preprocessing, architecture, path)
        backbone = (
            build_backbone(checkpoint, dtype)
            if load_weights
            else PaliGemma2Backbone(**architecture, dtype=dtype)
        )
    if preprocessor is not None:
        if preprocessor.image_converter is not None:
            preprocessor.image_converter.image_size = (backbone.image_size,) * 2
        if sequence_length is not None:
            preprocessor.sequence_length = sequence_length
    return backbone, preprocessor


def _preprocessor(
    preprocessing: Preprocessing, architecture: Architecture, path: Path
) -> Preprocessor:
    if preprocessing.tokenizer is None:
        return None
    return build_preprocessor(preprocessing, architecture, path)


def _load_preset(
    directory: Path, load_weights: bool, dtype: Any, overrides: dict[str, Any]
) -> tuple[PaliGemma2Backbone, Preprocessor]:
    """A preset of ours, whose preprocessor Keras reads."""
    check_preprocessor_files(directory)
    preprocessor = PaliGemma2CausalLMPreprocessor.from_preset(str(directory))
    if not load_weights:
        config = read_json(directory / "config.json")["config"]
        architecture = override_architecture(config, **overrides)
        return PaliGemma2Backbone(**architecture, dtype=dtype), preprocessor
    if is_quantized(directory):
        return load_quantized(directory, dtype, overrides), preprocessor
    checkpoint = _with_overrides(open_checkpoint(directory), overrides)
    return build_backbone(checkpoint, dtype), preprocessor


def _with_overrides(checkpoint: Checkpoint, overrides: dict[str, Any]) -> Checkpoint:
    """Changes numbers that weights do not depend on.

    Raises:
        TypeError: for a number that neither part has.
        ValueError: when the changed network would have other weights.
    """
    architecture = override_architecture(checkpoint.architecture, **overrides)
    if variable_shapes(**architecture) != variable_shapes(**checkpoint.architecture):
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        raise ValueError(
            f"Expected numbers that fit the weights in {checkpoint.path}. Received: "
            f"{changes}, of another network. Leave them out, or pass "
            "load_weights=False for random weights."
        )
    return dataclasses.replace(checkpoint, architecture=architecture)


PREPROCESSOR_FILES = (
    "preprocessor.json",
    "tokenizer.json",
    "image_converter.json",
    "assets/tokenizer/vocabulary.spm",
)


def check_preprocessor_files(directory: Path) -> None:
    """Makes sure, before long work, that a preset of ours has its preprocessor.

    Raises:
        FileNotFoundError: naming a file that is missing.
        ValueError: when one is no JSON.
    """
    for name in PREPROCESSOR_FILES:
        file = directory / name
        if not file.is_file():
            raise FileNotFoundError(
                f"Expected the file {file}, which is missing. Copy the preset again."
            )
        if file.suffix == ".json":
            read_json(file)
