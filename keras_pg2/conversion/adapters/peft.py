"""LoRA adapters from and to PEFT's directories.

A directory is `adapter_config.json` and `adapter_model.safetensors`. PEFT's A and B
are Keras' factors transposed. Modules have the names of transformers 5; the names of
older ones are read too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from keras_pg2.conversion.adapters.files import PICKLED, Adapter, Base, pair_up
from keras_pg2.conversion.adapters.peft_targets import (
    layers_without_factors,
    module_name,
)
from keras_pg2.conversion.huggingface.weights import hub_key, weight_rows
from keras_pg2.conversion.safetensors_files import read_header
from keras_pg2.conversion.tables.number_types import is_finite
from keras_pg2.conversion.tables.transforms import TRANSPOSE
from keras_pg2.files.json_files import read_json
from keras_pg2.files.whole_files import staged
from keras_pg2.typing import Architecture

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLE_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_KERNELS = ("lora_A", "lora_B")

# Settings of PEFT that change what is computed, and what they must be.
_PLAIN: dict[str, tuple[Any, str]] = {
    "use_rslora": (False, "rank-stabilised scales"),
    "use_dora": (False, "magnitudes of DoRA"),
    "fan_in_fan_out": (False, "transposed kernels"),
    "lora_bias": (False, "biases of factors"),
    "bias": ("none", "trained biases"),
    "modules_to_save": (None, "whole trained modules"),
    "trainable_token_indices": (None, "trained tokens"),
    "target_parameters": (None, "factors of parameters"),
    "layer_replication": (None, "repeated layers"),
    "megatron_config": (None, "Megatron's layers"),
    "alora_invocation_tokens": (None, "activated LoRA"),
    "use_qalora": (False, "QALoRA"),
    "use_bdlora": (None, "block-diagonal LoRA"),
    "arrow_config": (None, "routed adapters"),
}
# With other ones the base is changed when the adapter is made.
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")


def read_peft(directory: Path, architecture: Architecture) -> Adapter:
    """Read an adapter that PEFT has written for PaliGemma of transformers.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if it is no plain LoRA, is for other modules, lacks factors of a
            layer that its configuration names, or is cut off.
    """
    _check_files(directory)
    config = read_json(directory / CONFIG_FILE)
    _check_plain(config, directory)
    path = directory / WEIGHTS_FILE
    layers = _layers_by_module(architecture)
    tensors: dict[tuple[str, ...], np.ndarray] = {}
    alphas: dict[str, float] = {}
    modules = set()
    unknown = []
    for key, (_, block) in read_header(path).items():
        found = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.(lora_[AB])\.weight", key)
        layer = layers.get(hub_key(f"{found[1]}.weight")) if found else None
        if found is None or layer is None:
            unknown.append(key)
            continue
        value = block.read()
        if not is_finite(value):
            raise ValueError(
                f"Expected finite numbers. Received: NaN or infinity in {key} of "
                f"{path}. The adapter is damaged, or its training diverged."
            )
        modules.add(found[1])
        tensors[layer, found[2]] = value.astype(np.float32).T
        alphas[layer] = _of_module(
            config.get("alpha_pattern"), found[1], config["lora_alpha"]
        )
    if unknown:
        raise ValueError(
            f"Expected factors of dense layers of PaliGemma in {path}. Received: "
            f"{', '.join(unknown[:6])} ({len(unknown)} such). Train it with "
            "target_modules of attention, MLPs and the projector alone."
        )
    missing = layers_without_factors(config, modules, layers)
    if missing:
        raise ValueError(
            f"Expected factors of all layers that {CONFIG_FILE} names in {path}. "
            f"Received none of: {', '.join(missing[:6])} ({len(missing)} such). Save "
            "the adapter again, or narrow target_modules to what was trained."
        )
    targets = config.get("target_modules")
    return Adapter(
        layers=pair_up(tensors, _KERNELS, alphas, path),
        targets=(targets,)
        if isinstance(targets, str)
        else tuple(sorted(targets or ())),
        base=Base(config.get("base_model_name_or_path") or ""),
        dropout=float(config.get("lora_dropout") or 0.0),
    )


def write_peft(adapter: Adapter, directory: Path, base: str) -> None:
    """Writes a directory that `peft.PeftModel.from_pretrained` reads.

    Args:
        adapter: with the numbers of its base.
        directory: it is not there yet.
        base: the id or directory of the base model, for whoever loads it; "" for none.

    Raises:
        FileExistsError: when there is something at the path.
    """
    assert adapter.base.architecture is not None
    modules = {
        layer: module_name(key)
        for key, layer in _layers_by_module(adapter.base.architecture).items()
    }
    tensors: dict[str, np.ndarray] = {}
    for layer, factors in adapter.layers.items():
        for name, value in zip(_KERNELS, (factors.a, factors.b)):
            key = f"{_PREFIX}{modules[layer]}.{name}.weight"
            tensors[key] = np.ascontiguousarray(value.T, np.float32)
    config = _config(adapter, modules, base)
    with staged(directory, None, sum(t.nbytes for t in tensors.values())) as part:
        part.mkdir()
        save_file(tensors, part / WEIGHTS_FILE, {"format": "pt"})
        (part / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def _config(adapter: Adapter, modules: Mapping[str, str], base: str) -> dict[str, Any]:
    ranks = {modules[path]: f.rank for path, f in adapter.layers.items()}
    alphas = {modules[path]: f.alpha for path, f in adapter.layers.items()}
    rank, alpha = (Counter(d.values()).most_common(1)[0][0] for d in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {k: v for k, v in ranks.items() if v != rank},
        "alpha_pattern": {k: v for k, v in alphas.items() if v != alpha},
        # Whole names: "q_proj" alone would be in the text and the vision layers.
        "target_modules": list(ranks),
        "lora_dropout": adapter.dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _layers_by_module(architecture: Architecture) -> dict[str, str]:
    """Our layers' paths by the hub's keys of their kernels."""
    return {
        row.theirs: row.ours.removesuffix("/kernel")
        for row in weight_rows(**architecture)
        if row.transform is TRANSPOSE
    }


def _check_files(directory: Path) -> None:
    """Raise FileNotFoundError, which says what is there, if a file is missing."""
    missing = [
        name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (directory / name).is_file()
    ]
    if not missing:
        return
    advice = "Save the adapter with peft's save_pretrained."
    folders = sorted(path.parent.name for path in directory.glob(f"*/{CONFIG_FILE}"))
    if (directory / _PICKLE_FILE).is_file():
        advice = f"{_PICKLE_FILE} is {PICKLED}"
    elif CONFIG_FILE in missing and folders:
        advice = (
            "Adapters with names of their own are in folders: load "
            f"{directory / folders[0]}"
            + (f" ({len(folders)} such: {', '.join(folders)})." if folders[1:] else ".")
        )
    raise FileNotFoundError(
        f"Expected {CONFIG_FILE} and {WEIGHTS_FILE} in {directory}. "
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
        f"{advice}"
    )


def _check_plain(config: Mapping[str, Any], directory: Path) -> None:
    kind = config.get("peft_type")
    if kind != "LORA" or not isinstance(config.get("lora_alpha"), int | float):
        raise ValueError(
            f"Expected peft_type LORA with a lora_alpha in {directory / CONFIG_FILE}. "
            f"Received: {kind!r}, {config.get('lora_alpha')!r}."
        )
    wrong = [
        f"{name}={config[name]!r} ({meaning})"
        for name, (plain, meaning) in _PLAIN.items()
        if config.get(name, plain) not in (plain, None, [], {})
    ]
    initial = config.get("init_lora_weights", True)
    if initial not in _INITIAL:
        wrong.append(f"init_lora_weights={initial!r} (a changed base)")
    if wrong:
        raise ValueError(
            f"Expected plain LoRA in {directory}. Received: {', '.join(wrong)}. Merge "
            "it in peft (merge_and_unload), save the model, and load that."
        )


def _of_module(
    patterns: Mapping[str, float] | None, module: str, other: float
) -> float:
    """The number of the first pattern that ends a module's name, as PEFT has it."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return other
