"""From a user's word for a model to a backbone and a preprocessor."""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from keras_pg2.catalogue.architecture import (
    check_overrides,
    override_architecture,
    variable_shapes,
)
from keras_pg2.catalogue.names import Preset, locate, near_names, resolve
from keras_pg2.checks.dtypes import POLICIES, check_dtype
from keras_pg2.checks.numbers import check_at_least_one, check_flag
from keras_pg2.conversion.formats import open_checkpoint
from keras_pg2.conversion.found_models import FoundModel, find_checkpoint, open_found
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.to_preprocessor import build_preprocessor
from keras_pg2.files.json_fields import read_config
from keras_pg2.files.user_paths import user_path
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.modeling.cpu import has_accelerator
from keras_pg2.modeling.gemma2 import Gemma2Decoder
from keras_pg2.modeling.siglip import SigLIPEncoder
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.tasks.loading.filling import build_backbone
from keras_pg2.tasks.loading.preprocessing_files import (
    FILES,
    check_files,
    check_preprocessing,
)
from keras_pg2.typing import DTypePolicy

OPTIONS = (
    "load_weights",
    "dtype",
    "sequence_length",
    "tokenizer",
    "preprocessor",
    "trainable",
    "name",
    "compile",
)
"""What `from_preset` takes beside arguments of the network."""
_OF_BACKBONE = ("load_weights", "dtype", "trainable", "name")

_PARTS = {"vision_encoder": SigLIPEncoder, "text_decoder": Gemma2Decoder}
ARGUMENTS = tuple(
    dict.fromkeys(
        name
        for names in (
            _PARTS,
            *(inspect.signature(p).parameters for p in _PARTS.values()),
        )
        for name in names
        if name != "kwargs"
    )
)
"""What `from_preset` can override of the network."""


def find_with_weights(
    preset: str | Path | FoundModel, load_weights: bool
) -> FoundModel:
    """Return what a preset stands for, of which weights or a description are loaded.

    Raises:
        ValueError: as `find_checkpoint`, and for an adapter without weights.
    """
    found = find_checkpoint(preset)
    if found.adapters and not load_weights:
        raise ValueError(
            f"Expected load_weights=True for {found.title}, which is an adapter on "
            f"{found.base}. Received: load_weights={load_weights!r}. Name the base for "
            "its network with random weights."
        )
    return found


def load_parts(
    preset: str | Path | FoundModel,
    load_weights: bool = True,
    *,
    dtype: DTypePolicy = "auto",
    sequence_length: int | None = None,
    tokenizer: str | Path | None = None,
    preprocessor: PaliGemma2CausalLMPreprocessor | Literal["auto"] | None = "auto",
    **overrides: Any,
) -> tuple[PaliGemma2Backbone, PaliGemma2CausalLMPreprocessor | None]:
    """Load what a task is made of; see `PaliGemma2CausalLM.from_preset`."""
    _check_names(overrides)
    check_flag("load_weights", load_weights)
    if sequence_length is not None:
        check_at_least_one("sequence_length", sequence_length, ", or None")
    dtype = _choose_dtype(dtype)
    if tokenizer is not None and not isinstance(tokenizer, str | os.PathLike):
        raise TypeError(
            "Expected tokenizer as the path of a SentencePiece file. Received: "
            f"{type(tokenizer).__name__}. Pass a preprocessor that has it: "
            "preprocessor=PaliGemma2CausalLMPreprocessor(tokenizer, image_converter)."
        )
    if preprocessor not in ("auto", None) and not isinstance(
        preprocessor, PaliGemma2CausalLMPreprocessor
    ):
        raise TypeError(
            'Expected preprocessor as a PaliGemma2CausalLMPreprocessor, "auto" or '
            f"None. Received: {preprocessor!r}."
        )
    if preprocessor != "auto" and (sequence_length, tokenizer) != (None, None):
        raise ValueError(
            "Expected sequence_length and tokenizer for the preset's own preprocessor. "
            f"Received: preprocessor={preprocessor!r} as well. Set them there."
        )
    checkpoint = _open(find_with_weights(preset, load_weights), load_weights, tokenizer)
    checkpoint = _override(checkpoint, overrides)
    if preprocessor == "auto":
        is_own = tokenizer is None
        preprocessor = _load_preprocessor(checkpoint, sequence_length, is_own)
    return build_backbone(checkpoint, dtype), preprocessor


def load_backbone(
    cls: type[PaliGemma2Backbone],
    preset: str | Path,
    load_weights: bool = True,
    *,
    dtype: DTypePolicy = "auto",
    trainable: bool = True,
    name: str | None = None,
    **overrides: Any,
) -> PaliGemma2Backbone:
    """Load a network alone; see `PaliGemma2Backbone.from_preset`."""
    _check_names(overrides, _OF_BACKBONE)
    dtype = _choose_dtype(dtype)
    found = find_with_weights(preset, load_weights)
    checkpoint = _override(_open(found, load_weights, None), overrides)
    backbone = build_backbone(checkpoint, dtype, cls, name=name)
    if not trainable:
        backbone.trainable = False
    return backbone


def _choose_dtype(dtype: DTypePolicy) -> DTypePolicy:
    """Return the policy of a name in any spelling; None for Keras' own.

    "auto" is Keras' own where one was set, and goes by the machine where none was.
    """
    if isinstance(dtype, str):
        dtype = check_dtype(dtype, POLICIES)
    if dtype != "auto":
        return dtype
    is_set = keras.config.dtype_policy().name != "float32"
    return "bfloat16" if has_accelerator() and not is_set else None


def _check_names(
    overrides: Mapping[str, Any], options: Sequence[str] = OPTIONS
) -> None:
    """Check names and numbers before anything is downloaded.

    Raises:
        TypeError: for names that mean nothing.
        ValueError: for numbers that no network has.
    """
    known = [*options, *ARGUMENTS]
    unknown = [name for name in overrides if name not in known]
    if unknown:
        near = near_names(unknown[0], known)
        raise TypeError(
            "Expected options of from_preset or arguments of the network, received "
            f"{', '.join(unknown)}. "
            + (f"Did you mean {near[0]}? " if near else "")
            + f"Options are {', '.join(options)}; arguments are {', '.join(ARGUMENTS)}."
        )
    check_overrides(overrides)


def _open(
    model: FoundModel, load_weights: bool, tokenizer: str | Path | None
) -> Checkpoint:
    """Open a checkpoint; of a released one without weights only the record."""
    found = resolve(model.base)
    if load_weights or not isinstance(found, Preset):
        return open_files(model, tokenizer, with_weights=load_weights)
    proto = None if tokenizer is None else user_path(tokenizer).read_bytes()
    return Checkpoint(
        format="released",
        path=found.directory,
        architecture=found.architecture,
        preprocessing=Preprocessing(proto, found.sequence_length),
    )


def open_files(
    preset: str | Path | FoundModel,
    tokenizer: str | Path | None = None,
    *,
    with_weights: bool = True,
) -> Checkpoint:
    """Open the files of a preset of any format, downloaded if they are not here.

    Args:
        preset: Name, URI, directory or file; adapters are merged into the weights.
        tokenizer: SentencePiece file to take in place of the preset's own.
        with_weights: False downloads no weights.

    Raises:
        ValueError, OSError: as `PaliGemma2CausalLM.from_preset`.
    """
    model = find_checkpoint(preset)
    found = resolve(model.base)
    path = locate(model.base, with_weights)
    if with_weights:
        checkpoint = open_found(model, path, tokenizer)
    else:
        checkpoint = open_checkpoint(path, tokenizer, with_weights=False)
    if not isinstance(found, Preset):
        return checkpoint
    # The name of a directory in a download cache does not tell the length.
    preprocessing = dataclasses.replace(
        checkpoint.preprocessing, sequence_length=found.sequence_length
    )
    return dataclasses.replace(checkpoint, preprocessing=preprocessing)


def _override(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> Checkpoint:
    """Override arguments of the network that weights do not depend on.

    Raises:
        TypeError: if neither part has an argument of this name, or both have.
        ValueError: if the checkpoint has weights, which the new network would not fit.
    """
    architecture = override_architecture(checkpoint.architecture, **overrides)
    if checkpoint.keys and variable_shapes(**architecture) != variable_shapes(
        **checkpoint.architecture
    ):
        changes = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        raise ValueError(
            f"Expected arguments that fit the weights in {checkpoint.path}. Received: "
            f"{changes}, of another network. Leave them out, or pass "
            "load_weights=False for random weights."
        )
    return dataclasses.replace(checkpoint, architecture=architecture)


def _load_preprocessor(
    checkpoint: Checkpoint, sequence_length: int | None, has_own_tokenizer: bool
) -> PaliGemma2CausalLMPreprocessor | None:
    """Build the preprocessor of a checkpoint; None if it was saved without one."""
    if checkpoint.format == "preset" and has_own_tokenizer:
        if not _has_preprocessor(checkpoint.path):
            return None
        # Keras reads its own, which may have other options than those of `Checkpoint`.
        check_files(checkpoint.path)
        check_preprocessing(checkpoint.path)
        path = str(checkpoint.path)
        preprocessor = PaliGemma2CausalLMPreprocessor.from_preset(path)
        size = checkpoint.architecture["vision_encoder"]["image_size"]
        if preprocessor.image_converter is not None:
            preprocessor.image_converter.image_size = (size, size)
    elif checkpoint.preprocessing.tokenizer is None:
        warnings.warn(
            f"Expected the vocabulary of {checkpoint.path}, for a preprocessor. "
            "Received: none, so the model takes arrays, not pictures and text. Pass "
            "tokenizer=, the path of a SentencePiece file; or preprocessor=None, to "
            "say so.",
            stacklevel=4,
        )
        return None
    else:
        preprocessor = build_preprocessor(checkpoint)
        preprocessor.preset_files = checkpoint.preprocessing.preset_files
    if sequence_length is not None:
        preprocessor.sequence_length = sequence_length
    return preprocessor


def _has_preprocessor(directory: Path) -> bool:
    """Return whether a preset of ours was saved with a preprocessor."""
    task = directory / "task.json"
    if not task.is_file():
        return any((directory / name).exists() for name in FILES)
    config = read_config(task).fields("config")
    return config.fields("preprocessor", None) is not None
