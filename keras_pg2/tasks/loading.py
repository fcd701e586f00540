"""From the name or directory of a preset to a backbone and a preprocessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from keras_pg2 import presets
from keras_pg2.conversion import huggingface
from keras_pg2.json_files import read_json
from keras_pg2.modeling.backbone import PaliGemma2Backbone
from keras_pg2.preprocessing.preprocessor import PaliGemma2CausalLMPreprocessor

PREPROCESSOR_FILES = (
    "preprocessor.json",
    "tokenizer.json",
    "image_converter.json",
    "assets/tokenizer/vocabulary.spm",
)


def load_parts(
    preset: str,
    load_weights: bool = True,
    dtype: Any = None,
    sequence_length: int | None = None,
    **overrides: Any,
) -> tuple[PaliGemma2Backbone, PaliGemma2CausalLMPreprocessor]:
    """Loads what a task is made of.

    Args:
        preset: name of a bundled preset, directory of ours or of Hugging Face.
        load_weights: False leaves the weights random.
        dtype: dtype policy; None for Keras' own.
        sequence_length: text tokens of the preprocessor; None for the preset's.
        **overrides: numbers of the vision encoder or text decoder, by name.

    Raises:
        ValueError: for an unknown preset, a directory of another model, or numbers
            that do not fit the weights.
        FileNotFoundError: when a file is missing.
        OSError: when a weight file is truncated or not readable.
        TypeError: for a number that neither part has.
    """
    directory = presets.resolve_directory(preset)
    # The preprocessor first: it is quick, and its files may be broken too.
    if huggingface.is_huggingface_directory(directory):
        preprocessor = huggingface.load_preprocessor(directory)
        backbone = huggingface.load_backbone(
            directory, load_weights=load_weights, dtype=dtype, **overrides
        )
    else:
        config = check_preset_directory(directory, load_weights)
        numbers = presets.override_numbers(config["config"], **overrides)
        if load_weights:
            _check_count(directory, numbers)
        preprocessor = PaliGemma2CausalLMPreprocessor.from_preset(str(directory))
        backbone = _load_backbone(directory, load_weights, dtype, numbers)
    if preprocessor.image_converter is not None:
        preprocessor.image_converter.image_size = (backbone.image_size,) * 2
    if sequence_length is not None:
        preprocessor.sequence_length = sequence_length
    return backbone, preprocessor


def _load_backbone(
    directory: Path, load_weights: bool, dtype: Any, numbers: dict[str, Any]
) -> PaliGemma2Backbone:
    policy = {} if dtype is None else {"dtype": dtype}
    try:
        return PaliGemma2Backbone.from_preset(
            str(directory), load_weights=load_weights, **numbers, **policy
        )
    except (KeyError, RuntimeError) as error:
        raise OSError(
            f"Expected weights in {directory} that fit its config.json. They could not "
            f"be read: {error}. Copy the preset again."
        ) from error


def _check_count(directory: Path, numbers: dict[str, Any]) -> None:
    """Compares the number of weights with the one noted when they were saved.

    Raises:
        ValueError: when they differ: Keras would leave weights out in silence.
    """
    path = directory / "metadata.json"
    if not path.is_file():
        return
    saved = read_json(path).get("parameter_count")
    count = presets.count_parameters(**numbers)
    if saved is not None and saved != count:
        raise ValueError(
            f"Expected numbers that make {saved:,} weights, as are saved in "
            f"{directory}. Received numbers that make {count:,}. Undo the change of "
            "config.json, or pass load_weights=False for random weights."
        )


def check_preset_directory(directory: Path, load_weights: bool) -> dict[str, Any]:
    """Makes sure, before long work, that a directory is a whole preset of ours.

    Returns:
        The content of its `config.json`.

    Raises:
        ValueError, FileNotFoundError, OSError: as for `load_parts`.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a preset directory with a config.json. Received: {directory}. "
            "Pass a directory written by save_to_preset or of a Hugging Face "
            "PaliGemma checkpoint."
        )
    config = read_json(path)
    registered_name = config.get("registered_name")
    if registered_name != "keras_pg2>PaliGemma2Backbone":
        raise ValueError(
            "Expected a preset of keras_pg2 (registered name "
            f"'keras_pg2>PaliGemma2Backbone') or a Hugging Face PaliGemma directory. "
            f"Received: {directory} with registered name {registered_name!r}."
        )
    for name in PREPROCESSOR_FILES:
        file = directory / name
        if not file.is_file():
            raise FileNotFoundError(
                f"Expected the file {file}, which is missing. Copy the preset again."
            )
        if file.suffix == ".json":
            read_json(file)
    if load_weights:
        for weights_path in _weight_files(directory):
            _check_weight_file(weights_path)
    return config


def _weight_files(directory: Path) -> list[Path]:
    """The one weight file, or the shards that the index names."""
    index = directory / "model.weights.json"
    if not index.is_file():
        return [directory / "model.weights.h5"]
    names: set[str] = set()
    for files in read_json(index)["weight_map"].values():
        names.update([files] if isinstance(files, str) else files)
    return [directory / name for name in sorted(names)]


def _check_weight_file(path: Path) -> None:
    """Opens the file: HDF5 compares its size with the one it was written with."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the weight file {path}, which is missing. Copy the preset "
            "again, or pass load_weights=False for random weights."
        )
    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:
        raise OSError(
            f"Expected a whole HDF5 weight file at {path}, which is truncated or "
            f"damaged ({error}). Copy the preset again."
        ) from error
