"""The configuration of a PEFT adapter, `adapter_config.json`, checked as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_pg2.checks.texts import shown
from keras_pg2.conversion.adapters.tensors import read_alpha, read_dropout
from keras_pg2.files.json_fields import Fields, read_config

CONFIG_FILE = "adapter_config.json"

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


@dataclass(frozen=True)
class PeftConfig:
    """What a configuration says of plain LoRA; names are PEFT's.

    Attributes:
        source: The file.
        rank: `r`, of layers that `rank_pattern` does not name.
        alpha: `lora_alpha`, likewise.
        rank_pattern: Ranks by expressions of names of modules.
        alpha_pattern: Alphas likewise.
        target_modules: Names of modules, or an expression; None for none.
        exclude_modules: Likewise.
        layers_to_transform: Numbers of layers; None for all.
        layers_pattern: Expressions of what stands before such a number.
        dropout: `lora_dropout`, in [0, 1).
        base: `base_model_name_or_path`; "" for none.
    """

    source: Path
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: tuple[str, ...]
    dropout: float
    base: str


def read_peft_config(directory: Path) -> PeftConfig:
    """Read the configuration of an adapter.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not of plain LoRA, or a field is missing or out of range;
            names the file and the field.
    """
    path = directory / CONFIG_FILE
    fields = read_config(path)
    _check_plain(fields)
    indices = _one_or_several(
        fields, "layers_to_transform", lambda f, name: f.integer(name)
    )
    return PeftConfig(
        source=path,
        rank=_rank(fields, "r"),
        alpha=read_alpha(fields, "lora_alpha"),
        rank_pattern=fields.table("rank_pattern", _rank, None) or {},
        alpha_pattern=fields.table("alpha_pattern", read_alpha, None) or {},
        target_modules=_names(fields, "target_modules"),
        exclude_modules=_names(fields, "exclude_modules"),
        layers_to_transform=indices or None,
        layers_pattern=_one_or_several(fields, "layers_pattern", Fields.text),
        dropout=read_dropout(fields, "lora_dropout"),
        base=fields.text("base_model_name_or_path", None) or "",
    )


def _rank(fields: Fields, name: str) -> int:
    rank: int = fields.integer(name, at_least=1)
    return rank


def _names(fields: Fields, name: str) -> str | tuple[str, ...] | None:
    """Return an expression as a text, names as a tuple."""
    if isinstance(fields.value(name, None), list):
        return tuple(fields.items(name, Fields.text))
    found: str | None = fields.text(name, None)
    return found


def _one_or_several(fields: Fields, name: str, read: Any) -> tuple[Any, ...]:
    """Return what is there as a tuple, also if it is not in a list; () for null."""
    value = fields.value(name, None)
    if isinstance(value, list):
        return tuple(fields.items(name, read))
    return () if value is None else (read(fields, name),)


def _check_plain(fields: Fields) -> None:
    fields.text("peft_type", choices=("LORA",))
    wrong = [
        f"{name}={shown(fields.value(name))} ({meaning})"
        for name, (plain, meaning) in _PLAIN.items()
        if fields.value(name, plain) not in (plain, None, [], {})
    ]
    initial = fields.value("init_lora_weights", True)
    if initial not in _INITIAL:
        wrong.append(f"init_lora_weights={shown(initial)} (a changed base)")
    if wrong:
        raise ValueError(
            f"Expected plain LoRA in {fields.source}. Received: {', '.join(wrong)}. "
            "Merge it in peft (merge_and_unload), save the model, and load that."
        )
