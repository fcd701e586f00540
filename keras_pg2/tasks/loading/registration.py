"""Gives classes of lower rooms what loads them, and KerasHub the bundled names.

It does so when it is imported. A network, tokenizer, preprocessor and image converter
then take every preset by name, as the task does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

# KerasHub has no public name for adding presets, without which `from_preset` of
# `keras_hub.models.CausalLM` and its other base classes knows no names but its own.
from keras_hub.src.utils.preset_utils import BUILTIN_PRESETS, register_presets

from keras_pg2.catalogue.names import (
    PRESETS,
    Preset,
    bundled_names,
    locate,
    resolve,
)
from keras_pg2.conversion.checkpoint_files import check_files
from keras_pg2.conversion.convert import write_checkpoint
from keras_pg2.conversion.found_models import find_checkpoint
from keras_pg2.conversion.from_model import from_model
from keras_pg2.conversion.huggingface.writer import write_tokenizer
from keras_pg2.conversion.keras.preset import is_preset
from keras_pg2.conversion.to_preprocessor import (
    build_image_converter,
    build_preprocessor,
    build_tokenizer,
)
from keras_pg2.files.json_fields import read_config
from keras_pg2.files.whole_files import updated
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.image_converter import PaliGemma2ImageConverter
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor
from keras_pg2.preprocessing.tokenizer import PaliGemma2Tokenizer
from keras_pg2.start.preset_loading import PresetLoading, provide
from keras_pg2.tasks.loading.loading import load_backbone, open_files
from keras_pg2.tasks.loading.preprocessing_files import check_preprocessing


def list_presets() -> dict[str, dict[str, Any]]:
    """Return what KerasHub's `presets` of a class is: metadata by name."""
    released = {
        name: {
            "metadata": _metadata(preset.directory),
            "kaggle_handle": preset.kaggle_handle,
        }
        for name, preset in PRESETS.items()
    }
    return {**_bundled(), **released}


def find_own_files(preset: str | Path, needs_vocabulary: bool) -> str | None:
    """Return the directory of a preset in the layout of ours; None in another."""
    preset = find_checkpoint(preset).base
    found = resolve(preset)
    if isinstance(found, Preset):
        # Its vocabulary is not ours, and comes with its own files.
        return None if needs_vocabulary else str(found.directory)
    path = locate(preset, with_weights=False)
    if not path.is_dir():
        return None
    check_files(path)
    if not is_preset(path):
        return None
    check_preprocessing(path)
    return str(path)


def load_preprocessor(
    cls: type[PaliGemma2CausalLMPreprocessor],
    preset: str | Path,
    *,
    tokenizer: PaliGemma2Tokenizer | str | Path | None = None,
    **kwargs: Any,
) -> PaliGemma2CausalLMPreprocessor:
    """Build a preprocessor from files of another layout.

    The tokenizer is a layer, or a SentencePiece file; None is the preset's.
    """
    if isinstance(tokenizer, PaliGemma2Tokenizer):
        kwargs["tokenizer"], tokenizer = tokenizer, None
    checkpoint = open_files(preset, tokenizer, with_weights=False)
    return build_preprocessor(checkpoint, cls, **kwargs)


def load_tokenizer(
    cls: type[PaliGemma2Tokenizer], preset: str | Path, **kwargs: Any
) -> PaliGemma2Tokenizer:
    """Build a tokenizer from files of another layout."""
    return build_tokenizer(open_files(preset, with_weights=False), cls, **kwargs)


def load_image_converter(
    cls: type[PaliGemma2ImageConverter], preset: str | Path, **kwargs: Any
) -> PaliGemma2ImageConverter:
    """Build an image converter from files of another layout."""
    checkpoint = open_files(preset, with_weights=False)
    return build_image_converter(checkpoint, cls, **kwargs)


def export_backbone(backbone: PaliGemma2Backbone, path: str | Path) -> None:
    """Write a network alone as a directory of transformers."""
    write_checkpoint(from_model(backbone, None), path, "hf")


def export_tokenizer(path: str | Path, proto: bytes) -> None:
    """Write a tokenizer as transformers reads it into a directory."""
    with updated(Path(path)) as part:
        write_tokenizer(part, proto)


def _bundled() -> dict[str, dict[str, Any]]:
    return {
        name: {"metadata": _metadata(directory), "kaggle_handle": str(directory)}
        for name, directory in bundled_names().items()
    }


@cache
def _metadata(directory: Path) -> dict[str, Any]:
    """Return a preset's metadata by KerasHub's keys, and its licence."""
    content = read_config(directory / "metadata.json")
    return {
        "description": content.text("description", ""),
        "params": content.integer("parameter_count", at_most=2**63 - 1),
        "path": "pali_gemma2",
        "license": content.text("license", ""),
    }


provide(
    PresetLoading(
        list_presets=list_presets,
        find_own_files=find_own_files,
        load_backbone=load_backbone,
        load_preprocessor=load_preprocessor,
        load_tokenizer=load_tokenizer,
        load_image_converter=load_image_converter,
        export_backbone=export_backbone,
        export_tokenizer=export_tokenizer,
    )
)
# Never a name that KerasHub has, which must go on to mean its own model.
register_presets(
    {
        name: record
        for name, record in _bundled().items()
        if name not in BUILTIN_PRESETS
    },
    PaliGemma2Backbone,
)
