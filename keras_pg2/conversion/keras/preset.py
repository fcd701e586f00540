"""Our own presets as files: opened without Keras, written without a model.

The layout is that of KerasHub's `save_to_preset`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_pg2.catalogue.architecture import (
    count_parameters,
    read_architecture,
    variable_shapes,
)
from keras_pg2.checks.architecture import MAX_TOKENS
from keras_pg2.conversion.keras.weight_files import (
    KerasWeightsSource,
    write_keras_weights,
)
from keras_pg2.conversion.model_card import write_model_card
from keras_pg2.conversion.tables.checkpoint import Checkpoint, Preprocessing
from keras_pg2.conversion.tables.outgoing import main_dtype, outgoing_tensors
from keras_pg2.conversion.tables.weight_table import Row
from keras_pg2.files.json_fields import Fields, read_config
from keras_pg2.files.json_files import MAX_CONFIG_BYTES, read_file, read_json
from keras_pg2.preprocessing.preset_files import PresetFiles
from keras_pg2.preprocessing.resizing import INTERPOLATIONS
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
    return config.is_file() and read_config(config).value("registered_name", None) == (
        _REGISTERED
    )


def _is_quantized(config: Fields) -> bool:
    """Whether a backbone was saved with policies of other weights than floats."""
    if isinstance(config.value("dtype", None), str | None):
        policy = config.text("dtype", None)
    else:
        given = config.fields("dtype")
        inside = given.fields("config")
        if given.text("class_name") == "DTypePolicyMap":
            inside.table("policy_map", _check_policy)
            return True
        policy = inside.text("name")
    return policy not in (None, *_FLOAT_POLICIES)


def _check_policy(policies: Fields, path: str) -> None:
    policy = policies.fields(path)
    policy.text("class_name")
    policy.fields("config")


def open_preset(directory: Path, with_weights: bool = True) -> Checkpoint:
    """Opens a preset of ours, of float or quantized weights, as `open_checkpoint`.

    Raises:
        FileNotFoundError: when weights or a shard are missing.
        OSError: when a weight file is truncated.
        ValueError: when a field of its configuration is missing or not as it should
            be, or its architecture contradicts the weights, or the count noted when
            they were saved.
    """
    config = read_config(directory / "config.json").fields("config")
    architecture = read_architecture(config)
    checkpoint = Checkpoint(
        format="preset",
        path=directory,
        architecture=architecture,
        preprocessing=_read_preprocessing(directory),
    )
    is_quantized = _is_quantized(config)
    if not with_weights:
        return checkpoint
    if is_quantized:
        source = KerasWeightsSource(directory)
        _check_room(source, architecture)
        return replace(
            checkpoint,
            source=source,
            policies=config.value("dtype"),
            notes=("weights are quantised, and cannot be written in other formats",),
        )
    _check_count(directory, architecture)
    return checkpoint.with_weights(
        weight_rows(**architecture), KerasWeightsSource(directory)
    )


def _check_count(directory: Path, architecture: Architecture) -> None:
    metadata = directory / "metadata.json"
    if not metadata.is_file():
        return
    count = count_parameters(**architecture)
    noted = read_config(metadata).integer("parameter_count", None, at_most=2**63 - 1)
    if noted is not None and noted != count:
        raise ValueError(
            f"Expected numbers that make {noted:,} weights, as are saved in "
            f"{directory}. Received numbers that make {count:,}. Undo the change of "
            "config.json, or pass load_weights=False for random weights."
        )


def _check_room(source: KerasWeightsSource, architecture: Architecture) -> None:
    """Check that a file holds all weights: Keras makes them before it reads any."""
    num_bytes = sum(
        math.prod(source.shape(key)) * source.dtype(key).itemsize
        for key in source.keys()  # noqa: SIM118 (no mapping)
    )
    count = count_parameters(**architecture)
    if count > 2 * num_bytes:  # Of 4 bits, two are in a byte.
        raise ValueError(
            "Expected numbers that make the weights that are saved, which are "
            f"{num_bytes:,} bytes. Received numbers that make {count:,} weights. Undo "
            "the change of config.json, or pass load_weights=False for random weights."
        )


def read_vocabulary(directory: Path) -> bytes | None:
    """The tokenizer of a preset of KerasHub's layout; None where there is none."""
    vocabulary = directory / "assets" / "tokenizer" / "vocabulary.spm"
    return read_file(vocabulary, MAX_CONFIG_BYTES) if vocabulary.is_file() else None


def _read_preprocessing(directory: Path) -> Preprocessing:
    proto = read_vocabulary(directory)
    preprocessor = directory / "preprocessor.json"
    converter = directory / "image_converter.json"
    length, pictures = 512, {}
    if preprocessor.is_file():
        given = read_config(preprocessor).fields("config")
        length = given.integer("sequence_length", at_least=1, at_most=MAX_TOKENS)
    if converter.is_file():
        given = read_config(converter).fields("config")
        pictures = {
            "interpolation": given.text("interpolation", choices=tuple(INTERPOLATIONS)),
            "antialias": given.flag("antialias"),
        }
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
