"""Our own presets as files: opened without Keras, written without a model.

The layout is that of KerasHub's `save_to_preset`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import (
    count_parameters,
    override_architecture,
    variable_shapes,
)
from keras_pg2.conversion.keras.weight_files import (
    KerasWeightsSource,
    write_keras_weights,
)
from keras_pg2.conversion.model_card import write_model_card
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.outgoing import main_dtype, outgoing_tensors
from keras_pg2.conversion.tables.weight_table import Row
from keras_pg2.files.json_files import read_json
from keras_pg2.preprocessing.preset_files import PresetFiles
from keras_pg2.typing import Advance, Architecture

_REGISTERED = "keras_pg2>PaliGemma2Backbone"
_FLOAT_POLICIES = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
# Keras names a layer in a file by its class, and numbers those of one container.
_IN_FILES = {
    "vision_encoder": "layers/sig_lip_encoder",
    "vision_projection": "layers/dense",
    "text_decoder": "layers/gemma2_decoder",
}
_BLOCKS = {"vision_encoder": "sig_lip_block", "text_decoder": "gemma2_block"}


def is_preset(directory: Path) -> bool:
    """Whether a directory's `config.json` is of our backbone."""
    config = directory / "config.json"
    return config.is_file() and read_json(config).get("registered_name") == _REGISTERED


def _is_quantized(policy: Mapping[str, Any] | str | None) -> bool:
    """Whether a serialised dtype policy is of other weights than floats."""
    if isinstance(policy, dict):
        policy = (
            policy["config"].get("name")
            if policy["class_name"] == "DTypePolicy"
            else "a map"
        )
    return policy is not None and policy not in _FLOAT_POLICIES


def open_preset(directory: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a preset of ours, of float or quantized weights, as `open_checkpoint`.

    Raises:
        FileNotFoundError: when weights or a shard are missing.
        OSError: when a weight file is truncated.
        ValueError: when its architecture contradicts the weights, or the count
            noted when they were saved.
    """
    config = read_json(directory / "config.json")["config"]
    checkpoint = Checkpoint(
        format="preset",
        path=directory,
        architecture=override_architecture(config),
        preprocessing=_read_preprocessing(directory),
    )
    if not with_weights:
        return checkpoint
    if _is_quantized(config.get("dtype")):
        return replace(
            checkpoint,
            source=KerasWeightsSource(directory),
            policies=config["dtype"],
            notes=("weights are quantised, and cannot be written in other formats",),
        )
    architecture = checkpoint.architecture
    _check_count(directory, architecture)
    return checkpoint.with_weights(
        weight_rows(**architecture), KerasWeightsSource(directory)
    )


def _check_count(directory: Path, architecture: Architecture) -> None:
    metadata = directory / "metadata.json"
    noted = read_json(metadata).get("parameter_count") if metadata.is_file() else None
    count = count_parameters(**architecture)
    if noted is not None and noted != count:
        raise ValueError(
            f"Expected numbers that make {noted:,} weights, as are saved in "
            f"{directory}. Received numbers that make {count:,}. Undo the change of "
            "config.json, or pass load_weights=False for random weights."
        )


def read_vocabulary(directory: Path) -> bytes | None:
    """The tokenizer of a preset of KerasHub's layout; None where there is none."""
    vocabulary = directory / "assets" / "tokenizer" / "vocabulary.spm"
    return vocabulary.read_bytes() if vocabulary.is_file() else None


def _read_preprocessing(directory: Path) -> Preprocessing:
    proto = read_vocabulary(directory)
    preprocessor = directory / "preprocessor.json"
    converter = directory / "image_converter.json"
    length, pictures = 512, {}
    if preprocessor.is_file():
        length = read_json(preprocessor)["config"]["sequence_length"]
    if converter.is_file():
        given = read_json(converter)["config"]
        pictures = {name: given[name] for name in ("interpolation", "antialias")}
    return Preprocessing(
        tokenizer=proto,
        sequence_length=length,
        preset_files=PresetFiles.read(directory),
        **pictures,
    )


def weight_rows(
    vision_encoder: Mapping[str, Any], text_decoder: Mapping[str, Any]
) -> list[Row]:
    """Return the table of a network, in the layout of Keras' files."""
    return [Row(p, _dataset(p)) for p in variable_shapes(vision_encoder, text_decoder)]


def _dataset(path: str) -> str:
    """`text_decoder/block_3/mlp_norm/beta` as the path of its dataset."""
    part, *middle, name = path.split("/")
    found = re.fullmatch(r"block_(\d+)", middle[0]) if middle else None
    if found:
        suffix = "" if found[1] == "0" else f"_{found[1]}"
        middle = ["blocks", _BLOCKS[part] + suffix, *middle[1:]]
    number = "1" if name in ("bias", "beta") else "0"
    return "/".join([_IN_FILES[part], *middle, "vars", number])


def write_preset(
    checkpoint: Checkpoint, target: Path, dtype: str | None, advance: Advance
) -> None:
    """Writes a preset of ours as `formats.Writer` says.

    Raises:
        ValueError: when the tokenizer is none of PaliGemma's.
    """
    rows = weight_rows(**checkpoint.architecture)
    tensors = outgoing_tensors(checkpoint, rows, dtype)
    target.mkdir(parents=True)
    backbone = _backbone_config(checkpoint.architecture, main_dtype(tensors))
    _write_json(target / "config.json", backbone)
    metadata = {
        "keras_version": version("keras"),
        "keras_hub_version": version("keras-hub"),
        "parameter_count": checkpoint.num_parameters,
        "date_saved": datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["CausalLM"],
    }
    _write_json(target / "metadata.json", metadata)
    if checkpoint.preprocessing.tokenizer is not None:
        preprocessor = _write_preprocessor(checkpoint, target)
        task = {
            "module": "keras_pg2.tasks.causal_lm",
            "class_name": "PaliGemma2CausalLM",
            "config": {
                "backbone": backbone,
                "preprocessor": preprocessor,
                "name": "pali_gemma2_causal_lm",
            },
            "registered_name": "keras_pg2>PaliGemma2CausalLM",
        }
        _write_json(target / "task.json", task)
    write_model_card(target, checkpoint, "keras-hub")
    names = {row.theirs: row.ours.split("/")[-2] for row in rows}
    write_keras_weights(target, tensors, names, advance)


def _backbone_config(architecture: Architecture, policy: str) -> dict[str, Any]:
    return {
        "module": "keras_pg2.modeling.backbone",
        "class_name": "PaliGemma2Backbone",
        "config": {
            "name": "pali_gemma2_backbone",
            "trainable": True,
            "dtype": {
                "module": "keras",
                "class_name": "DTypePolicy",
                "config": {"name": policy},
                "registered_name": None,
            },
            **{part: dict(values) for part, values in architecture.items()},
        },
        "registered_name": _REGISTERED,
    }


def _write_preprocessor(checkpoint: Checkpoint, target: Path) -> dict[str, Any]:
    """Lets KerasHub write tokenizer, image converter and preprocessor; no network."""
    from keras_pg2.conversion.to_preprocessor import build_preprocessor

    preprocessor = build_preprocessor(checkpoint)
    preprocessor.preset_files = checkpoint.preprocessing.preset_files
    preprocessor.save_to_preset(str(target))
    return read_json(target / "preprocessor.json")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4))
