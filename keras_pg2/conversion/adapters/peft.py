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

from keras_pg2.checks.texts import printable
from keras_pg2.conversion.adapters.files import PICKLED, Adapter, Base, pair_up
from keras_pg2.conversion.adapters.peft_config import (
    CONFIG_FILE,
    PeftConfig,
    read_peft_config,
)
from keras_pg2.conversion.adapters.peft_targets import PeftTargets, module_name
from keras_pg2.conversion.adapters.tensors import check_finite, float_blocks
from keras_pg2.conversion.huggingface.weights import hub_key, weight_rows
from keras_pg2.conversion.tables.transforms import TRANSPOSE
from keras_pg2.files.named_files import file_inside
from keras_pg2.files.whole_files import staged
from keras_pg2.typing import Architecture

WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLE_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_KERNELS = ("lora_A", "lora_B")


def read_peft(directory: Path, architecture: Architecture) -> Adapter:
    """Read an adapter that PEFT has written for PaliGemma of transformers.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if it is no plain LoRA, is for other modules, lacks factors of a
            layer that its configuration names, has some of another layer or others
            than it says, or is cut off. Names the file and the field.
    """
    check_peft_files(directory)
    config = read_peft_config(directory)
    targets = PeftTargets(config)
    path = directory / WEIGHTS_FILE
    layers = _layers_by_module(architecture)
    modules: dict[str, str] = {}
    keys: dict[tuple[str, str], str] = {}
    unknown = []
    blocks = float_blocks(path)
    for key in blocks:
        found = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.(lora_[AB])\.weight", key)
        layer = layers.get(hub_key(f"{found[1]}.weight")) if found else None
        if found is None or layer is None:
            unknown.append(key)
            continue
        modules[layer] = found[1]
        if (layer, found[2]) in keys:
            raise ValueError(
                f"Expected factors of a layer once in {path}. Received: "
                f"{keys[layer, found[2]]} and {key}."
            )
        keys[layer, found[2]] = key
    if unknown:
        raise ValueError(
            f"Expected factors of dense layers of PaliGemma in {path}. Received: "
            f"{printable(', '.join(unknown[:6]))} ({len(unknown)} such). Train it with "
            "target_modules of attention, MLPs and the projector alone."
        )
    missing = targets.layers_without_factors(modules.values(), layers)
    if missing:
        raise ValueError(
            f"Expected factors of all layers that {CONFIG_FILE} names in {path}. "
            f"Received none of: {', '.join(missing[:6])} ({len(missing)} such). Save "
            "the adapter again, or narrow target_modules to what was trained."
        )
    more = targets.modules_without_a_name(modules.values(), layers)
    if more:
        raise ValueError(
            f"Expected factors of the layers alone that {_choosing(config)} of "
            f"{config.source} choose. Received in {path}, too: "
            f"{printable(', '.join(more[:6]))} ({len(more)} such), which peft leaves "
            "out. Save the adapter again, or mend the configuration."
        )
    tensors = {place: blocks[key].read() for place, key in keys.items()}
    check_finite(
        {key: tensors[place] for place, key in keys.items()},
        f"{path} is damaged, or its training diverged.",
    )
    adapter = Adapter(
        layers=pair_up(
            {place: value.astype(np.float32).T for place, value in tensors.items()},
            _KERNELS,
            {layer: targets.alpha(module) for layer, module in modules.items()},
            path,
        ),
        targets=_as_tuple(config.target_modules),
        base=Base(config.base),
        dropout=config.dropout,
    )
    for layer, factors in adapter.layers.items():
        rank = targets.rank(modules[layer])
        if factors.rank != rank:
            raise ValueError(
                f"Expected factors of rank {rank} of {modules[layer]}, as r and "
                f"rank_pattern of {config.source} say. Received: rank {factors.rank} "
                f"in {path}. They are of two adapters: save it again."
            )
    return adapter


def _choosing(config: PeftConfig) -> str:
    """Return the fields that choose layers, those that say something."""
    fields = ("target_modules", "exclude_modules", "layers_to_transform")
    return " and ".join(name for name in fields if getattr(config, name) is not None)


def _as_tuple(targets: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (targets,) if isinstance(targets, str) else tuple(sorted(targets or ()))


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


def check_peft_files(directory: Path) -> None:
    """Check that a directory has the two files of an adapter.

    Raises:
        FileNotFoundError: if one is missing; says what is there instead.
        ValueError: if one is a link to a file elsewhere.
    """
    missing = [
        name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (directory / name).is_file()
    ]
    if not missing:
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            file_inside(directory, name)
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
    elif (directory / "config.json").is_file():
        advice = (
            "It is of a whole model: take that as the model itself (--preset, "
            "from_preset)."
        )
    raise FileNotFoundError(
        f"Expected {CONFIG_FILE} and {WEIGHTS_FILE} in {directory}. "
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
        f"{advice}"
    )
